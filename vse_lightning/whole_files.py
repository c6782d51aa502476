"""The one way to write: files that are whole under their names, or not there.

They are written into a private folder beside the place where they go, and moved when all of them are on the disk. A
process that is killed leaves its folder behind, which the next one that writes there removes.
"""

import errno
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock

WRITING = ".writing-"
"""Begins the names of the private folders."""

_OF_THIS_MACHINE = f"{WRITING}{socket.gethostname()}-"  # locks of another may not be seen here
_FILES, _LOCK = "files", "lock"
_PROBE = bytes(1 << 20)
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def whole_files(folder: Path, last: str | None = None) -> Iterator[Path]:
    """A private folder whose files come to ``folder`` when the block ends, and go when it fails.

    Files of the same names are replaced and keep their permissions; a link is replaced, not followed.

    Args:
        folder: where the files go; it exists.
        last: name of the file that describes the others: it comes last, and an earlier one goes before any is replaced.

    Raises:
        OSError: the disk is full or fails; the message names the file.
    """
    try:
        private, lock = _private_folder(folder)
    except OSError as error:
        raise _not_written(folder / (last or ""), error.errno) from error
    try:
        _remove_leftovers(folder, private)
        files = private / _FILES
        try:
            yield files
            _move(files, folder, last)
        except Exception as error:
            _explain(error, files, folder, last)
            raise
    finally:
        _remove(private)
        lock.release()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that will be at ``path`` when the block ends; see :func:`whole_files`."""
    with whole_files(path.parent, last=path.name) as folder:
        yield folder / path.name


def _private_folder(folder: Path) -> tuple[Path, BaseFileLock]:
    while True:
        private = Path(tempfile.mkdtemp(prefix=_OF_THIS_MACHINE, dir=folder))
        lock = FileLock(private / _LOCK)
        with suppress(OSError, NotImplementedError):  # not all file systems have locks
            lock.acquire()
        try:
            (private / _FILES).mkdir()
        except OSError as error:
            _remove(private)
            lock.release()
            if isinstance(error, FileNotFoundError):  # it was taken for a leftover, as long as it had no lock
                continue
            raise
        return private, lock


def _remove_leftovers(folder: Path, private: Path) -> None:
    """Remove what processes of ours on this machine left behind: their locks are free."""
    for other in folder.glob(f"{_OF_THIS_MACHINE}*"):
        with suppress(OSError, NotImplementedError):
            if other.name != private.name and other.lstat().st_uid == private.lstat().st_uid:
                with FileLock(other / _LOCK).acquire(blocking=False):
                    _remove(other)


def _remove(private: Path) -> None:
    shutil.rmtree(private / _FILES, ignore_errors=True)  # before the lock, in case that this is interrupted
    shutil.rmtree(private, ignore_errors=True)


def _move(files: Path, folder: Path, last: str | None) -> None:
    (files.parent / "usual").touch()
    usual = (files.parent / "usual").stat().st_mode  # some libraries let nobody else read what they write
    written = sorted((file for file in files.rglob("*") if file.is_file()), key=lambda file: (file.name == last, file))
    places = {file: folder / file.relative_to(files) for file in written}
    for file, place in places.items():
        file.chmod(stat.S_IMODE(place.stat().st_mode if place.is_file() else usual))
        place.parent.mkdir(parents=True, exist_ok=True)
        _sync(file)
    if last is not None and len(written) > 1:
        (folder / last).unlink(missing_ok=True)
    for file, place in places.items():
        file.replace(place)
    for changed in {place.parent for place in places.values()}:
        with suppress(OSError):  # not all systems open folders
            _sync(changed)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _explain(error: Exception, files: Path, folder: Path, last: str | None) -> None:
    """Raise an ``OSError`` that names the file, if it is the disk that failed."""
    number = _number_of(error, files)
    if number is None:
        return
    name = getattr(error, "filename", None)
    named = Path(name) if isinstance(name, str) else _newest(files, last)
    if named.is_relative_to(files):  # else it is about a file of somebody else
        raise _not_written(folder / named.relative_to(files), number) from error


def _not_written(place: Path, number: int | None) -> OSError:
    number = number or errno.EIO
    return OSError(number, f"cannot be written: {os.strerror(number)}; nothing of it is kept", str(place))


def _number_of(error: Exception, files: Path) -> int | None:
    """The number of an error of the disk; libraries say it in words of their own, or not at all."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.filename or error.errno in _OF_DISKS else None
    said = re.search(r"os error (\d+)", str(error))  # in Rust
    if said:
        return int(said[1])
    try:
        (files.parent / "probe").write_bytes(_PROBE)
    except OSError as full:
        return full.errno
    return None


def _newest(files: Path, last: str | None) -> Path:
    written = (file for file in files.rglob("*") if file.is_file())
    return max(written, key=lambda file: file.stat().st_mtime_ns, default=files / (last or ""))
