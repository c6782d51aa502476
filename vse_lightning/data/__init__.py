"""Where images and captions come from, and the LightningDataModule that serves them with their labels."""

from vse_lightning.data.datamodule import ImageTextDataModule
from vse_lightning.data.sources import (
    HuggingFaceSource,
    ImageTextSource,
    KarpathySource,
    PrecompSource,
    ShapesSource,
    StreamingSource,
)

__all__ = [
    "HuggingFaceSource",
    "ImageTextDataModule",
    "ImageTextSource",
    "KarpathySource",
    "PrecompSource",
    "ShapesSource",
    "StreamingSource",
]
