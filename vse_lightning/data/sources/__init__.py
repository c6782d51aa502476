"""Where images and captions come from."""

from vse_lightning.data.sources.hugging_face_datasets import HuggingFaceSource
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.data.sources.karpathy import KarpathySource
from vse_lightning.data.sources.precomp import PrecompSource
from vse_lightning.data.sources.shapes import ShapesSource
from vse_lightning.data.sources.streaming import StreamingSource

__all__ = ["HuggingFaceSource", "ImageTextSource", "KarpathySource", "PrecompSource", "ShapesSource", "StreamingSource"]
