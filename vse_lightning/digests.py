"""What tells texts and files from others."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def text_digest(texts: Iterable[str]) -> str:
    """SHA-256 of a list of texts; the lengths count, so that no two lists run together to the same bytes."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
