"""Callbacks for retrieval training."""

from vse_lightning.callbacks.hard_negative_warmup import HardNegativeWarmup

__all__ = ["HardNegativeWarmup"]
