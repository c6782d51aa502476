"""Features made part by part, by as many processes as ask for them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

PART_CAPTIONS = 2048


class Part:
    """The features of some captions; one that :meth:`take` has locked is free again after ``with``.

    Args:
        path: the file.
        rows: the captions.
    """

    def __init__(self, path: Path, rows: list[int]) -> None:
        self.rows = rows
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"))

    def is_made(self) -> bool:
        """Whether the file is there and whole."""
        try:
            return len(self.load()) == len(self.rows)
        except (OSError, EOFError, ValueError):
            return False

    def take(self) -> bool:
        """Lock the part to make it, unless somebody else has."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        if self.is_made():  # a moment ago
            self._lock.release()
            return False
        return True

    def save(self, features: NDArray[np.float16]) -> None:
        """Write the file at once or not at all."""
        writing = self._path.with_suffix(".writing.npy")
        np.save(writing, features, allow_pickle=False)
        writing.replace(self._path)

    def load(self) -> NDArray[np.float16]:
        """The features, mapped into memory."""
        features: NDArray[np.float16] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return features

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class PartFiles:
    """The parts of one set of features, each a file of its own until all are made.

    Processes share the work without a word to each other: each takes a part that nobody has made or is making. So it
    does not matter how many there are, on which machines, or whether one of them dies: its part is free again. What was
    made before an interruption is still there.

    Captions of like length share a part, so that little is padding; the longest come first, so that memory runs out at
    the start or never, and all processes finish at about the same time.

    Args:
        folder: for the parts; need not exist.
        captions: all captions.
    """

    def __init__(self, folder: Path, captions: Sequence[str]) -> None:
        order = sorted(range(len(captions)), key=lambda row: -len(captions[row]))
        self._folder = folder
        self._parts = [
            Part(folder / f"{start}.npy", order[start : start + PART_CAPTIONS])
            for start in range(0, len(order), PART_CAPTIONS)
        ]
        self._missing = self._parts

    def missing(self) -> list[Part]:
        """The parts that are not made yet."""
        self._missing = [part for part in self._missing if not part.is_made()]
        return self._missing

    def missing_captions(self) -> int:
        """How many captions those parts have."""
        return sum(len(part.rows) for part in self.missing())

    def take(self) -> Part | None:
        """A part to make, locked; None if others are making all that are missing."""
        self._folder.mkdir(exist_ok=True)
        return next((part for part in self._missing if part.take()), None)

    def join(self) -> NDArray[np.float16]:
        """The features of all captions, in their order."""
        width = self._parts[0].load().shape[1]
        features = np.empty((sum(len(part.rows) for part in self._parts), width), dtype=np.float16)
        for part in self._parts:
            features[part.rows] = part.load()
        return features

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
