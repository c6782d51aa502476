"""Caption features on disk: made once, checked on load, mapped into memory by every process.

An entry is ``<label>-<key>.npy`` beside a ``.json`` that describes it. Nothing is pickled. Each file is written under
another name and renamed when complete, the description last; so a reader sees a whole entry or none.
"""

import hashlib
import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from vse_lightning.distributed import process_rank
from vse_lightning.relevance.cache.folder import check_room, check_writable
from vse_lightning.relevance.cache.parts import Part, PartFiles

if TYPE_CHECKING:
    from rich.progress import Progress

FORMAT_VERSION = 1
SECONDS_BETWEEN_LOOKS = 0.2  # at whether the others are done


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
        """Make the entry unless it is there, with a progress bar.

        Processes that ask at once share the work, whether they belong together or not; :class:`PartFiles` says how.
        After an interruption it goes on where it was.

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
        encoder: CaptionEncoder | None = None
        with self._part_folder(force) as folder, _progress() as progress:
            parts = PartFiles(folder, captions)
            bar = progress.add_task("Encoding captions", total=len(captions))
            for part in self._unmade(parts, len(captions), force):
                if part is None:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                    continue
                with part:
                    encoder = encoder or self._load(load, parts, len(captions))
                    part.save(encoder.encode([captions[row] for row in part.rows]))
                progress.update(bar, completed=len(captions) - parts.missing_captions())
            progress.update(bar, completed=len(captions))
        return self.path

    @contextmanager
    def _part_folder(self, force: bool) -> Iterator[Path]:
        """A folder that all processes know, so that they share the work; or one to start afresh."""
        if not force:
            yield self.path.with_suffix(".parts")
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".writing-") as folder:
            yield Path(folder)

    def _unmade(self, parts: PartFiles, captions: int, force: bool) -> Iterator[Part | None]:
        """Parts that this process is to make, or None when it has to wait for others, until the entry is there."""
        while True:
            with FileLock(self.path.with_suffix(".lock")):
                if not force and self._is_there(captions):
                    return
                if not parts.missing():
                    self._write(parts.join())
                    parts.remove()
                    return
                part = parts.take()
            yield part

    def _is_there(self, captions: int) -> bool:
        """Whether the entry can be used; if it is damaged, remove it."""
        defect = self._defect(captions)
        if defect is not None and self.path.exists():
            warnings.warn(f"{self.path} is damaged ({defect}); making it again", stacklevel=4)
            self.path.unlink()
        return defect is None

    def _load(self, load: Callable[[], CaptionEncoder], parts: PartFiles, captions: int) -> CaptionEncoder:
        encoder = load()
        rows = captions + parts.missing_captions()
        check_room(self.folder, rows * encoder.dimension * np.dtype(np.float16).itemsize)
        return encoder

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


def _progress() -> "Progress":
    """A progress bar on the error stream, of the first process only where several train together."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), disable=process_rank() > 0)


def cache_key(captions: Sequence[str], settings: dict[str, str]) -> str:
    """Digest of the captions, in order, and of the settings that decide their features."""
    return text_digest([json.dumps({"format": FORMAT_VERSION, **settings}, sort_keys=True), *captions])


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
