"""Caption features on disk."""

from vse_lightning.relevance.cache.digests import file_digest, text_digest
from vse_lightning.relevance.cache.features import CachedFeatures

__all__ = ["CachedFeatures", "file_digest", "text_digest"]
