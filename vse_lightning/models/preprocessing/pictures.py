"""Transforms of single pictures: timm's, augmented only as captions allow, and processors of Hugging Face models."""

import json
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from vse_lightning.checks import require


class PictureTransform:
    """Turns a picture into the tensor ``(3, height, width)`` that a timm network takes.

    Evaluation is timm's own transform for the network. Training crops mildly and, if asked, mirrors, but keeps colours
    and brightness: timm's other augmentations would make "a red shirt" or "at dusk" wrong.

    Of the timm network only the data settings are read; the arguments are those of ``TimmImageEncoder``.

    Attributes:
        settings: the network's data settings as timm names them, with the arguments in their places.
        draws: whether it is random, for the data module to seed it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        train: bool,
        image_size: int | None,
        crop_pct: float | None,
        crop_scale: tuple[float, float],
        horizontal_flip: float,
    ) -> None:
        from timm.data import create_transform, resolve_model_data_config

        settings = resolve_model_data_config(backbone)
        if image_size is not None:
            settings["input_size"] = (3, image_size, image_size)
        if crop_pct is not None:
            settings["crop_pct"] = crop_pct
        self.settings: dict[str, Any] = settings
        self.draws = train
        augmentation = {"scale": crop_scale, "hflip": horizontal_flip, "color_jitter": None} if train else {}
        self.transform: Callable[[Any], Tensor] = create_transform(is_training=train, **settings, **augmentation)

    def __call__(self, picture: Any) -> Tensor:
        """Turn one PIL picture into a tensor."""
        if isinstance(picture, Tensor):
            raise TypeError(
                f"TimmImageEncoder takes pictures, but the source gives tensors of shape {tuple(picture.shape)}; "
                "precomputed features need a FeatureImageEncoder"
            )
        return self.transform(picture)


class ProcessorTransform:
    """Turns a picture into the tensor ``(3, height, width)`` that a Hugging Face model was trained on.

    The model's image processor holds settings only and is picklable for data workers.
    """

    draws = False  # nothing at random, so the data module need not seed it

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    @classmethod
    def of(cls, processor: Any, model: str) -> Self:
        """The transform of a processor that makes ``pixel_values`` alone (SigLIP 2's of any aspect ratio make more)."""
        alone = processor.model_input_names == ["pixel_values"]
        rule = "model={!r} must take pictures as pixel_values alone, got {}"
        require(alone, rule, model, processor.model_input_names)
        return cls(processor)

    @classmethod
    def from_text(cls, processor_json: str) -> Self:
        """The transform that wrote :meth:`text`."""
        import transformers

        settings = json.loads(processor_json)
        return cls(getattr(transformers, settings["image_processor_type"]).from_dict(settings))

    def text(self) -> str:
        """The processor's settings, for a state dict."""
        settings: str = self.processor.to_json_string()
        return settings

    def __call__(self, picture: Any) -> Tensor:
        """Turn one PIL picture into a tensor."""
        if isinstance(picture, Tensor):
            raise TypeError(
                f"CLIPRetriever takes pictures, but the source gives tensors of shape {tuple(picture.shape)}; "
                "precomputed features need a DualEncoder with a FeatureImageEncoder"
            )
        pixels: Tensor = self.processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return pixels
