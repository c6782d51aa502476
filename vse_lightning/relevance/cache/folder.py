"""The folder of cached caption features: where it is, and whether its disk can take more."""

import os
import shutil
from pathlib import Path

REMEDY = "; set cache_dir or the environment variable VSE_LIGHTNING_CACHE to another"


def cache_folder(chosen: str | Path | None) -> Path:
    """The chosen folder, or the default that :class:`RelevanceSource` documents."""
    folder = chosen or os.environ.get("VSE_LIGHTNING_CACHE")
    if not folder:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "vse_lightning"
    return Path(folder).expanduser().absolute()


def check_room(folder: Path, needed: int) -> None:
    """Raise an ``OSError`` unless the disk of the folder has room for that many bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"{needed / 1e6:.1f} MB of features, got {free / 1e6:.1f} MB in {folder}"
        raise OSError(f"cache_dir must have room for {sizes}{REMEDY}")
