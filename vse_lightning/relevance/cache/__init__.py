"""Caption features on disk."""

from vse_lightning.relevance.cache.features import CachedFeatures

__all__ = ["CachedFeatures"]
