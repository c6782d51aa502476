"""Caption features on disk."""

from vse_lightning.relevance.cache.entry import CacheEntry, cache_key, file_digest, text_digest
from vse_lightning.relevance.cache.folder import cache_folder

__all__ = ["CacheEntry", "cache_folder", "cache_key", "file_digest", "text_digest"]
