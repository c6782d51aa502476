"""Callbacks for retrieval training."""

from vse_lightning.callbacks.before_and_after import BeforeAndAfter
from vse_lightning.callbacks.embedding_writer import EmbeddingWriter
from vse_lightning.callbacks.hard_negative_warmup import HardNegativeWarmup
from vse_lightning.callbacks.loss_schedule import LossSchedule
from vse_lightning.callbacks.retrieval_gallery import RetrievalGallery
from vse_lightning.callbacks.weight_interpolation import WeightInterpolation

__all__ = [
    "BeforeAndAfter",
    "EmbeddingWriter",
    "HardNegativeWarmup",
    "LossSchedule",
    "RetrievalGallery",
    "WeightInterpolation",
]
