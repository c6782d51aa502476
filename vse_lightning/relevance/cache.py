"""Caption features on disk: made once, checked on load, mapped into memory by every process.

An entry is ``<label>-<key>.npy`` beside a ``.json`` that describes it. Nothing is pickled. Each file is written under
another name and renamed when complete, the description last; so a reader sees a whole entry or none.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

FORMAT_VERSION = 1


class CaptionEncoder(Protocol):
    """What makes the features."""

    dimension: int

    def encode(self, captions: Sequence[str]) -> NDArray[np.float16]:
        """Features ``(len(captions), dimension)``."""


@dataclass(frozen=True)
class CacheEntry:
    """The place of one set of features.

    Args:
        folder: the cache folder.
        label: the name of the source; begins the file name, for those who look into the folder.
        key: everything that the features depend on, as :func:`cache_key` digests it.
    """

    folder: Path
    label: str
    key: str

    @property
    def path(self) -> Path:
        """The ``.npy`` file, whether it exists or not."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        return self.folder / f"{slug}-{self.key[:20]}.npy"

    @property
    def description_path(self) -> Path:
        """The ``.json`` file."""
        return self.path.with_suffix(".json")

    def make(self, captions: Sequence[str], load: Callable[[], CaptionEncoder], force: bool = False) -> Path:
        """Make the entry unless it is there.

        Processes that ask at once wait for the first, and then read what it made.

        Args:
            captions: what to encode.
            load: gives the encoder; called only if there is something to encode.
            force: encode although the entry is there.

        Returns:
            The path of the ``.npy`` file.

        Raises:
            OSError: if the folder cannot be written or its disk has too little room; before anything is encoded.
        """
        if not force and self._defect(len(captions)) is None:
            return self.path
        check_writable(self.folder)
        with FileLock(self.path.with_suffix(".lock")):
            if not force:
                defect = self._defect(len(captions))
                if defect is None:
                    return self.path
                if self.path.exists():
                    warnings.warn(f"{self.path} is damaged ({defect}); making it again", stacklevel=2)
            encoder = load()
            check_room(self.folder, len(captions) * encoder.dimension * np.dtype(np.float16).itemsize)
            self._write(encoder.encode(captions))
        return self.path

    def _write(self, features: NDArray[np.float16]) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".writing-") as folder:
            array, description = Path(folder) / "features.npy", Path(folder) / "features.json"
            np.save(array, features, allow_pickle=False)
            content = {"format": FORMAT_VERSION, "label": self.label, "key": self.key, "sha256": file_digest(array)}
            description.write_text(json.dumps(content, indent=1), encoding="utf-8")
            array.replace(self.path)
            description.replace(self.description_path)

    def _defect(self, captions: int) -> str | None:
        """Why the entry cannot be used."""
        if not self.path.is_file():
            return "it is missing"
        try:
            description = json.loads(self.description_path.read_text(encoding="utf-8"))
            features = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            return str(error)
        if not isinstance(description, dict) or description.get("key") != self.key:
            return "its description is that of other captions or settings"
        if features.dtype != np.float16 or features.ndim != 2 or len(features) != captions:
            return f"it holds {features.dtype} {features.shape}, not a float16 row for each of {captions} captions"
        if file_digest(self.path) != description.get("sha256"):
            return "its checksum differs"
        return None


def cache_key(captions: Sequence[str], settings: dict[str, str]) -> str:
    """Digest of the captions, in order, and of the settings that decide their features."""
    return text_digest([json.dumps({"format": FORMAT_VERSION, **settings}, sort_keys=True), *captions])


def cache_folder(chosen: str | Path | None) -> Path:
    """The chosen folder, or the default that :class:`RelevanceSource` documents."""
    folder = chosen or os.environ.get("VSE_LIGHTNING_CACHE")
    if not folder:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "vse_lightning"
    return Path(folder).expanduser().absolute()


def check_writable(folder: Path) -> None:
    """Make the folder if need be; raise an ``OSError`` that names the remedy if files cannot be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"cache_dir must be a folder that can be written, got {folder} ({error.strerror}); set cache_dir or the "
            "environment variable VSE_LIGHTNING_CACHE to another"
        ) from error


def check_room(folder: Path, needed: int) -> None:
    """Raise an ``OSError`` unless the disk of the folder has room for that many bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"cache_dir must have room for {needed / 1e6:.1f} MB of features, got {free / 1e6:.1f} MB in {folder}; set "
            "cache_dir or the environment variable VSE_LIGHTNING_CACHE to another disk"
        )


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
