"""Caption features on disk: made once, checked on load, mapped into memory by every process.

They are a ``<label>-<key>.npy`` beside a ``.json`` that describes it, and nothing is pickled. The description is
written last; so a reader sees both whole, or neither. While they are made, a folder ``.parts`` holds what is done.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from vse_lightning.array_files import DAMAGES
from vse_lightning.checks import require, require_writable
from vse_lightning.digests import file_digest, text_digest
from vse_lightning.relevance.cache.folder import REMEDY, cache_folder, check_room
from vse_lightning.whole_files import whole_file, whole_files

Encode = Callable[[Sequence[str]], NDArray[np.floating]]

FORMAT_VERSION = 1
PART_CAPTIONS = 2048
PATIENCE_SECONDS = 1800


@dataclass(frozen=True)
class CachedFeatures:
    """One vector for each caption, on disk; for sources of your own too.

    Args:
        label: the name of the source; begins the file name, for those who look into the folder.
        captions: what the vectors are of, in this order.
        settings: everything else that they depend on, such as the source and its model.
        folder: the ``cache_dir`` of the source.

    Example:
        Of a source: ``CachedFeatures(self.name, captions, {"model": "mine v2"}, self.cache_dir).make(load_model)``
    """

    label: str
    captions: Sequence[str]
    settings: Mapping[str, str]
    folder: str | Path | None = None

    @cached_property
    def key(self) -> str:
        """Digest of captions and settings."""
        return text_digest([json.dumps({"format": FORMAT_VERSION, **self.settings}, sort_keys=True), *self.captions])

    @cached_property
    def path(self) -> Path:
        """The ``.npy`` file, whether it exists or not."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        return cache_folder(self.folder) / f"{slug}-{self.key[:20]}.npy"

    def make(self, load: Callable[[], Encode], force: bool = False) -> Path:
        """Make the file unless it is there, with a progress bar; after an interruption go on where it was.

        Of several processes that ask at once one makes it and the others wait.

        Args:
            load: gives the function that makes vectors ``(len(captions), F)`` of captions; called only if needed.
            force: make the file anew although it is there.

        Returns:
            The path of the ``.npy`` file, float16.

        Raises:
            OSError: if the folder cannot be written or its disk has too little room.
            TimeoutError: if another process is at it and gets nothing done for half an hour.
        """
        if not force and self._defect() is None:
            return self.path
        require_writable(self.path.parent, "cache_dir must be a folder that can be written", REMEDY)
        with self._alone():
            defect = self._defect()
            if force:
                shutil.rmtree(self._parts, ignore_errors=True)
            elif defect is None:  # another process made it meanwhile
                return self.path
            elif self.path.exists():
                warnings.warn(f"{self.path} is damaged ({defect}); making it again", stacklevel=3)
            self._make_parts(load)
            with whole_files(self.path.parent, last=self._description.name) as folder:
                self._join_parts(folder / self.path.name)
                self._describe(folder)
            shutil.rmtree(self._parts)
        return self.path

    @property
    def _parts(self) -> Path:
        return self.path.with_suffix(".parts")

    @property
    def _description(self) -> Path:
        return self.path.with_suffix(".json")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock; if another process has it, say so and wait as long as that one gets on."""
        from rich.console import Console

        lock = FileLock(self.path.with_suffix(".lock"))
        waits = f"{len(self.captions):,} captions that another process encodes ({self.label}, {lock.lock_file})"
        patience = f"{PATIENCE_SECONDS / 60:g} minutes"
        try:
            lock.acquire(blocking=False)
        except Timeout:
            text = f"waiting for {waits}; gives up where it makes no progress for {patience}"
            Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
        while not lock.is_locked:
            parts_before = sorted(self._parts.glob("*.npz"))
            try:
                lock.acquire(timeout=PATIENCE_SECONDS)
            except Timeout:
                if parts_before == sorted(self._parts.glob("*.npz")):
                    raise TimeoutError(f"waited {patience} for {waits}, which made no progress") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def _rows_of_parts(self) -> dict[Path, list[int]]:
        """The file of each part, and the rows of the captions in it.

        Captions of like length share a part, so that little is padding; the longest come first, so that memory runs out
        at the start or never.
        """
        order = sorted(range(len(self.captions)), key=lambda row: -len(self.captions[row]))
        starts = range(0, len(order), PART_CAPTIONS)
        return {self._parts / f"{start}.npz": order[start : start + PART_CAPTIONS] for start in starts}

    def _make_parts(self, load: Callable[[], Encode]) -> None:
        """Encode what is in no part made before."""
        from rich.console import Console
        from rich.progress import track

        encode: Encode | None = None
        remaining = len(self.captions)
        for file, rows in track(self._rows_of_parts.items(), "Encoding captions", console=Console(stderr=True)):
            if _read_part(file, len(rows)) is None:
                encode = encode or load()
                part = encode([self.captions[row] for row in rows]).astype(np.float16)
                many = part.ndim == 2 and len(part) == len(rows)
                require(
                    many, "{} must give a vector for each of {} captions, got {}", self.label, len(rows), part.shape
                )
                file.parent.mkdir(exist_ok=True)
                check_room(file.parent, 2 * part.itemsize * part.shape[1] * remaining)
                with whole_file(file) as written:
                    np.savez(written, part)
            remaining -= len(rows)

    def _join_parts(self, path: Path) -> None:
        """Write the features of all captions, in their order; a full disk would kill who maps the file into memory."""
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        start = width = 0
        with path.open("wb") as features:
            for file, rows in self._rows_of_parts.items():
                part = _read_part(file, len(rows))
                if part is None:
                    raise OSError(f"{file} has changed since it was written")
                if not start:
                    width = part.shape[1]
                    np.lib.format.write_array_header_1_0(features, {**header, "shape": (len(self.captions), width)})
                    start = features.tell()
                widths = width, part.shape[1]
                require(len({*widths}) == 1, "{} must give vectors of one width, got {} and {}", self.label, *widths)
                for row, vector in zip(rows, part, strict=True):
                    features.seek(start + row * vector.nbytes)
                    features.write(vector.tobytes())

    def _describe(self, folder: Path) -> None:
        digest = file_digest(folder / self.path.name)
        content = {"format": FORMAT_VERSION, "label": self.label, "key": self.key, "sha256": digest}
        (folder / self._description.name).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _defect(self) -> str | None:
        """Why the file cannot be used."""
        if not self.path.is_file():
            return "it is missing"
        try:
            description = json.loads(self._description.read_text(encoding="utf-8"))
            features = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            return str(error)
        if not isinstance(description, dict) or description.get("key") != self.key:
            return "its description is that of other captions or settings"
        if features.dtype != np.float16 or features.ndim != 2 or len(features) != len(self.captions):
            shown = f"{features.dtype} {features.shape}"
            return f"it holds {shown}, not a float16 row for each of {len(self.captions)} captions"
        if file_digest(self.path) != description.get("sha256"):
            return "its checksum differs"
        return None


def _read_part(file: Path, rows: int) -> NDArray[np.float16] | None:
    """What an interrupted run left, if it is whole: the zip around it has a checksum."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            part: NDArray[np.float16] = archive["arr_0"]
    except DAMAGES:
        return None
    return part if part.ndim == 2 and len(part) == rows else None
