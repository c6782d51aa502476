"""Pictures in a folder or in a zip file."""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from vse_lightning.checks import require, require_extra
from vse_lightning.data.files.decoding import read_picture
from vse_lightning.paths import existing_path, open_file

if TYPE_CHECKING:
    from PIL.Image import Image

APPLE_EXTRAS = "__MACOSX/"  # a shadow of each file, in zips that macOS makes

Names = Sequence[str]


class PictureStore(ABC):
    """The pictures of a source by row number: ``store[image_id]`` reads one as RGB, or names it in an error.

    Attributes:
        checksums: of the pictures, where they are written down.
    """

    checksums: Sequence[int] | None = None

    def __init__(self, where: Path, members: Sequence[str]) -> None:
        require_extra("reading pictures", "data", "PIL")
        self._where = where
        self._members = list(members)

    @abstractmethod
    def open(self, member: str) -> IO[bytes]:
        """Open one member for reading."""

    def __getitem__(self, image_id: int) -> Image:
        member = self._members[image_id]
        return read_picture(lambda: self.open(member), str(self._where / member))


class PictureFolder(PictureStore):
    """Pictures below a folder."""

    def __init__(self, folder: Path, candidates: Sequence[Names]) -> None:
        super().__init__(folder, _first_present(candidates, _listed(folder, candidates), folder))

    def open(self, member: str) -> IO[bytes]:
        """Open a file of the folder."""
        return open_file(self._where / member)


class PictureZip(PictureStore):
    """Pictures in a zip file, found by their path in it or, where that is unambiguous, by their name alone.

    The path may leave out folders that all members share, and members may be written with backslashes. Each process
    opens the file for itself: a handle shared with a forked worker would share its position too.
    """

    def __init__(self, path: Path, candidates: Sequence[Names]) -> None:
        self._path = path
        self._zip: ZipFile | None = None
        self._process = 0
        try:
            members = _by_path_or_name(self._open_zip().infolist())
        except BadZipFile as error:
            raise ValueError(f"images must be a folder or a zip file, got {str(path)!r}: {error}") from error
        names = _first_present(candidates, members, path)
        super().__init__(path, [_only_one(name, members[name], path) for name in names])
        self.checksums = [members[name][0].CRC << 64 | members[name][0].file_size for name in names]

    def open(self, member: str) -> IO[bytes]:
        """Open a member of the zip file."""
        return self._open_zip().open(member)

    def _open_zip(self) -> ZipFile:
        if self._zip is None or self._process != os.getpid():
            self._zip, self._process = ZipFile(self._path), os.getpid()
        return self._zip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None}


def open_pictures(images: str | Path, candidates: Sequence[Names]) -> PictureStore:
    """Find every picture in a folder or a zip file, under the first that is there of the names it may have.

    Names are paths with ``/`` or backslashes, none of which leads out of it.
    """
    path = existing_path("images", images)
    for name in (name for names in candidates for name in names):
        plain = name.replace("\\", "/")
        inside = not plain.startswith("/") and ".." not in plain.split("/")
        require(inside, "a picture's name must be a path inside {!r}, got {!r}", str(path), name)
    return PictureFolder(path, candidates) if path.is_dir() else PictureZip(path, candidates)


def count_present(folder: Path, candidates: Sequence[Names]) -> int:
    """How many pictures are in a folder under one of their names."""
    present = _listed(folder, candidates)
    return sum(any(name in present for name in _spellings(names)) for names in candidates)


def _listed(folder: Path, candidates: Sequence[Names]) -> set[str]:
    """What is where the pictures may be."""
    parents = {posixpath.dirname(name) for names in candidates for name in _spellings(names)}
    return {
        posixpath.join(parent, entry)
        for parent in parents
        if (folder / parent).is_dir()
        for entry in os.listdir(folder / parent)  # noqa: PTH208  # names alone: a Path for each costs seconds
    }


def _spellings(names: Names) -> list[str]:
    """The names without ``./``, and as they would be read on Windows."""
    written = [spelling for name in names for spelling in (name, *([name.replace("\\", "/")] if "\\" in name else []))]
    return [posixpath.normpath(spelling) for spelling in written]


def _by_path_or_name(members: Sequence[ZipInfo]) -> dict[str, list[ZipInfo]]:
    """The members that are meant by a whole path, else by one without the folders that all share, else by a name."""
    files = [member for member in members if not member.filename.endswith(("/", "\\"))]
    files = [member for member in files if not member.filename.startswith(APPLE_EXTRAS)]
    parts = [member.filename.replace("\\", "/").removeprefix("./").split("/") for member in files]
    folders = [path[:-1] for path in parts] or [[]]
    ends = zip(min(folders), max(folders), strict=False)  # what the first and the last share in order, all share
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))
    members_of: dict[str, list[ZipInfo]] = {}
    for start in (-1, shared, 0):
        meant = defaultdict(list)
        for member, path in zip(files, parts, strict=True):
            meant["/".join(path[start:])].append(member)
        members_of |= meant
    return members_of


def _only_one(name: str, members: Sequence[ZipInfo], where: Path) -> str:
    if len({(member.CRC, member.file_size) for member in members}) > 1:
        listed = " and ".join(repr(member.filename) for member in members[:2])
        raise ValueError(f"images: {name!r} must mean one picture in {where}, got {listed}")
    return members[0].filename


def _first_present(candidates: Sequence[Names], present: Container[str], where: Path) -> list[str]:
    first = [next((name for name in _spellings(names) if name in present), "") for names in candidates]
    missing = [names[0] for name, names in zip(first, candidates, strict=True) if not name]
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise FileNotFoundError(f"images: {len(missing)} of {len(candidates)} pictures are not in {where}: {listed}")
    return first
