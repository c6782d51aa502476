"""Pictures in a folder or in a zip file."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from vse_lightning.data.paths import existing_path

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureStore(ABC):
    """The pictures of a source by row number: ``store[image_id]`` reads one as RGB."""

    def __init__(self, members: Sequence[str]) -> None:
        self._members = list(members)

    @abstractmethod
    def open(self, member: str) -> IO[bytes]:
        """Open one member for reading."""

    def __getitem__(self, image_id: int) -> Image:
        with self.open(self._members[image_id]) as file:
            return decode_rgb(file)


class PictureFolder(PictureStore):
    """Pictures below a folder."""

    def __init__(self, folder: Path, candidates: Sequence[Sequence[str]]) -> None:
        parents = {str(PurePosixPath(name).parent) for names in candidates for name in names}
        present = {
            (PurePosixPath(parent) / entry).as_posix()
            for parent in parents
            if (folder / parent).is_dir()
            for entry in os.listdir(folder / parent)  # noqa: PTH208  # names alone: a Path for each costs seconds
        }
        self._folder = folder
        super().__init__(_first_present(candidates, present, folder))

    def open(self, member: str) -> IO[bytes]:
        """Open a file of the folder."""
        return (self._folder / member).open("rb")


class PictureZip(PictureStore):
    """Pictures in a zip file, found by their path in it or, where that is unambiguous, by their name alone.

    Each process opens the file for itself: a handle shared with a forked worker would share its position too.
    """

    def __init__(self, path: Path, candidates: Sequence[Sequence[str]]) -> None:
        self._path = path
        self._zip: ZipFile | None = None
        self._process = 0
        try:
            members = [name for name in self._open_zip().namelist() if not name.endswith("/")]
        except BadZipFile as error:
            raise ValueError(f"images must be a folder or a zip file, got {str(path)!r}: {error}") from error
        shared = Counter(PurePosixPath(member).name for member in members)
        by_name = {name: member for member in members if shared[name := PurePosixPath(member).name] == 1}
        found = _first_present(candidates, {*members, *by_name}, path)
        super().__init__([by_name.get(name, name) for name in found])

    def open(self, member: str) -> IO[bytes]:
        """Open a member of the zip file."""
        return self._open_zip().open(member)

    def _open_zip(self) -> ZipFile:
        if self._zip is None or self._process != os.getpid():
            self._zip, self._process = ZipFile(self._path), os.getpid()
        return self._zip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None}


def open_pictures(images: str | Path, candidates: Sequence[Sequence[str]]) -> PictureStore:
    """Find every picture in a folder or a zip file.

    Args:
        images: the folder or the zip file.
        candidates: for each image the names it may have there, as paths with ``/``; the first one present is used.

    Raises:
        FileNotFoundError: ``images`` does not exist, or some picture is not there under any of its names.
        ValueError: ``images`` is a file but no zip, or a name leads out of it.
    """
    path = existing_path("images", images)
    for name in (name for names in candidates for name in names):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"a picture's name must be a path inside {str(path)!r}, got {name!r}")
    return PictureFolder(path, candidates) if path.is_dir() else PictureZip(path, candidates)


def decode_rgb(file: IO[bytes]) -> Image:
    """Decode a picture as RGB, turned as its EXIF orientation says."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        return as_rgb(ImageOps.exif_transpose(opened))


def as_rgb(picture: Image) -> Image:
    """Convert a picture to RGB; transparency is dropped."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # PIL warns when a palette with transparency goes straight to RGB
    return picture.convert("RGB")


def _first_present(candidates: Sequence[Sequence[str]], present: set[str], where: Path) -> list[str]:
    found, missing = [], []
    for names in candidates:
        name = next((name for name in names if name in present), None)
        if name is None:
            missing.append(names[0])
        else:
            found.append(name)
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise FileNotFoundError(f"images: {len(missing)} of {len(candidates)} pictures are not in {where}: {listed}")
    return found
