"""timm's transforms of pictures, with an augmentation that does not contradict captions."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


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
