"""Arrays of numbers from files of any of the usual formats, none of which is unpickled."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.paths import open_file

DAMAGES = (BadZipFile, EOFError, KeyError, OSError, RuntimeError, ValueError, zlib.error)
"""What a damaged zip of arrays may raise."""
NPY_START = b"\x93NUMPY"
BFLOAT16 = np.dtype("V2")  # as NumPy, which has none, reads what ml_dtypes (JAX, TensorFlow) writes
A_LIST = "a list"  # the name of the one array that a ``.pt`` of a list of tensors is


def read_arrays(path: Path) -> Mapping[str, Callable[[], Tensor]]:
    """The arrays of a file by name, read when they are called; one that is the whole content has the name ``""``.

    A list of tensors in a ``.pt`` is one array: vectors are its rows, matrices follow each other. Of a file that is
    damaged or could only be unpickled a message says what was found, and what to save instead.
    """
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"arrays are read from {', '.join(readers)}, got {path}: save them by np.save, for example")
    return reader(path)


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file, mapped into memory."""
    with open_file(path) as file:
        start = file.read(len(NPY_START))
    kind = ", but a zip of several: call it .npz" if start.startswith(b"PK") else ""
    require(start == NPY_START, "{} must be an .npy file that np.save wrote, which it is not{}", path, kind)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        require("Python objects" not in str(error), "{}", _only_unpickled(str(path)))
        raise ValueError(f"{path} is damaged, as a file that was cut off ({error})") from error
    return array


def require_whole_zip(name: str, path: Path) -> None:
    """Raise a ``ValueError`` with the name of a file of ``torch.save`` that is damaged; a gigabyte takes half a second.

    PyTorch writes checksums (but for ``torch.serialization.set_crc32_options(False)``), at which it never looks.
    """
    with path.open("rb") as file:
        start = file.read(4)
    require(bool(start), "{} is damaged: it is empty", name)
    if start != b"PK\x03\x04":  # of a format without checksums, or of another, as whoever reads it will say
        return
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # what is fed anything raises anything
        raise ValueError(f"{name} is damaged, as a file that was cut off ({error})") from error
    require(damaged is None, "{} is damaged: the checksum of {} differs", name, damaged)


def as_tensor(array: NDArray[Any], name: str) -> Tensor:
    """The numbers of an array, of whatever byte order and type; a ``ValueError`` that calls it ``name`` for others."""
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    require(array.dtype.kind != "O", "{}", _only_unpickled(name))
    require(array.dtype.kind in "fiubc", "{} must hold numbers, got {}: save it as float32", name, array.dtype)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _only_unpickled(name: str) -> str:
    return (
        f"{name} holds Python objects, which could only be unpickled: save an array of numbers, such as "
        "np.stack(list(array)).astype('float32')"
    )


def _npy(path: Path) -> dict[str, Callable[[], Tensor]]:
    return {"": as_tensor(map_npy(path), str(path)).detach}


def _npz(path: Path) -> dict[str, Callable[[], Tensor]]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {name: partial(_member, path, name) for name in archive.files}
    except (AttributeError, *DAMAGES) as error:
        raise ValueError(f"{path} must be an .npz file that np.savez wrote, and whole, which it is not") from error


def _member(path: Path, name: str) -> Tensor:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            array = archive[name]
    except DAMAGES as error:
        require("bject" not in str(error), "{}", _only_unpickled(f"{name!r} of {path}"))
        raise ValueError(f"{name!r} of {path} is damaged ({error})") from error
    return as_tensor(array, f"{name!r} of {path}")


def _safetensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, and whole, which it is not ({error})") from error
    names: list[str] = file.keys()  # type: ignore[no-untyped-call]
    return {name: partial(file.get_tensor, name) for name in names}


def _torch(path: Path) -> dict[str, Callable[[], Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that is fed anything raises anything, with advice that is none here
        raise ValueError(f"{path} {problem_of_torch(path)}") from error
    require_whole_zip(str(path), path)
    tensors = content if isinstance(content, dict) else {"" if isinstance(content, Tensor) else A_LIST: content}
    arrays = {str(name): joined for name, value in tensors.items() if (joined := _joined(value)) is not None}
    kinds = ", ".join(sorted({type(value).__name__ for value in tensors.values()}))
    require(bool(arrays), "{} must hold tensors, or lists of tensors of one width, got {}", path, kinds or "nothing")
    return {name: tensor.detach for name, tensor in arrays.items()}


def _joined(value: Any) -> Tensor | None:
    """A tensor, or a list of them made one."""
    if isinstance(value, Tensor):
        return value.to_dense() if value.layout != torch.strided else value
    if not isinstance(value, Sequence) or not value or not all(isinstance(part, Tensor) for part in value):
        return None
    shapes = {tuple(part.shape[-1:] if part.ndim == 2 else part.shape) for part in value}
    dimensions = {part.ndim for part in value}
    if len(shapes) > 1 or len(dimensions) > 1:
        return None
    return torch.cat(list(value)) if dimensions == {2} else torch.stack(list(value))


def problem_of_torch(path: Path) -> str:
    """Why PyTorch does not load a file without unpickling."""
    try:
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it cannot be read at all
        classes = []
    if not classes:
        return "must be a file of tensors that torch.save wrote, and whole, which it is not"
    kind = "NumPy arrays" if any(name.startswith("numpy") for name in classes) else "objects"
    remedy = ", such as torch.save({name: torch.from_numpy(array)}, path)" if kind == "NumPy arrays" else " alone"
    return f"holds {kind} ({', '.join(sorted(classes))}), which could only be unpickled: save tensors{remedy}"
