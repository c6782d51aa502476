"""Callbacks for retrieval training."""

from vse_lightning.callbacks.hard_negative_warmup import HardNegativeWarmup
from vse_lightning.callbacks.retrieval_gallery import RetrievalGallery

__all__ = ["HardNegativeWarmup", "RetrievalGallery"]
