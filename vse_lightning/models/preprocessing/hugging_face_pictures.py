"""The image processor of a Hugging Face model as a transform of single pictures."""

import json
from typing import Any, Self

from torch import Tensor

from vse_lightning.checks import require


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
