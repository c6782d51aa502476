"""Where images and captions come from, and the LightningDataModule that serves them with their labels."""

from vse_lightning.data.datamodule import ImageTextDataModule
from vse_lightning.data.huggingface import HuggingFaceSource
from vse_lightning.data.karpathy import KarpathySource
from vse_lightning.data.precomp import PrecompSource
from vse_lightning.data.shapes import ShapesSource
from vse_lightning.data.source import ImageTextSource

__all__ = [
    "HuggingFaceSource",
    "ImageTextDataModule",
    "ImageTextSource",
    "KarpathySource",
    "PrecompSource",
    "ShapesSource",
]
