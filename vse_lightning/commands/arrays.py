"""Embeddings and score matrices from files of any of the usual formats, none of which is unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.data.paths import existing_path
from vse_lightning.embedding_files import read_embeddings
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.pair_scores import Similarity

_UNREADABLE = (AttributeError, EOFError, RuntimeError, TypeError, ValueError, UnpicklingError, BadZipFile)


@dataclass(frozen=True)
class ArrayNames:
    """What the arrays are called in files that hold several."""

    image_embeds: str = "image_embeds"
    text_embeds: str = "text_embeds"
    scores: str = "scores"


class ScoreLookup:
    """A similarity for models whose scores are known: "embeddings" are row and column numbers of the matrix.

    So a matrix of scores takes the same way through folds, protocols and blocks as embeddings do.

    Args:
        scores: ``(N, M)``, possibly mapped into memory.
    """

    def __init__(self, scores: Tensor) -> None:
        self._scores = scores

    def __call__(self, image_rows: Tensor, text_columns: Tensor) -> Tensor:
        """Scores of rows ``(B, 1)`` and columns ``(C, 1)``: ``(B, C)``."""
        return self._scores[image_rows[:, 0].long()][:, text_columns[:, 0].long()]


@dataclass(frozen=True)
class ModelOutput:
    """What a model made of the images and texts.

    Attributes:
        name: what the results are printed under.
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        similarity: scores them.
        image_ids: ``(N,)`` ascending, where ``predict`` wrote them.
        text_image_ids: ``(M,)`` the image that each text describes, likewise.
    """

    name: str
    image_embeds: Tensor
    text_embeds: Tensor
    similarity: Similarity = cosine_similarity
    image_ids: Tensor | None = None
    text_image_ids: Tensor | None = None


def read_model(specification: str, names: ArrayNames) -> ModelOutput:
    """Read ``[NAME=]FILE`` or ``[NAME=]IMAGES,TEXTS``.

    A single ``.npy`` is a matrix of scores; a single file of another kind holds ``names.scores``, or
    ``names.image_embeds`` and ``names.text_embeds``. A folder is one that ``predict`` wrote: its rows are brought into
    the order of their ids. The name defaults to that of the file.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a file cannot be read, lacks the arrays, or they are no finite matrices of floats.
    """
    name, paths = split_specification(specification)
    require(len(paths) <= 2, "a model must be one file or IMAGES,TEXTS, got {} files for {}", len(paths), name)
    if len(paths) == 2:
        images = _only_or_named(paths[0], names.image_embeds)
        texts = _only_or_named(paths[1], names.text_embeds)
        return _embeddings(name, images, texts)
    if paths[0].is_dir():
        return _of_folder(name, paths[0])
    arrays = read_arrays(paths[0])
    if paths[0].suffix == ".npy":
        return _scores(name, arrays[""]())
    if names.scores in arrays:
        return _scores(name, arrays[names.scores]())
    if names.image_embeds in arrays and names.text_embeds in arrays:
        return _embeddings(name, arrays[names.image_embeds](), arrays[names.text_embeds]())
    raise ValueError(
        f"{paths[0]} must hold {names.scores!r}, or {names.image_embeds!r} and {names.text_embeds!r}, got "
        f"{', '.join(map(repr, arrays))}: name them with --scores-key, or --image-key and --text-key"
    )


def split_specification(specification: str) -> tuple[str, list[Path]]:
    """Take ``[NAME=]FILE[,FILE]`` apart; the name defaults to that of the files without suffix.

    Raises:
        FileNotFoundError: if a file is not there.
    """
    name, equals, files = specification.partition("=")
    if not equals or "/" in name or Path(specification).exists():
        name, files = "", specification
    paths = [existing_path("model", path) for path in ([files] if Path(files).exists() else files.split(","))]
    return name or ",".join(path.stem for path in paths), paths


def read_arrays(path: Path) -> Mapping[str, Callable[[], Tensor]]:
    """The arrays of a file by name, read when they are called; the only one of an ``.npy`` has the name ``""``.

    Raises:
        ValueError: if the suffix is unknown, or the file is damaged or could only be unpickled.
    """
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
    require(path.suffix in readers, "arrays are read from {}, got {}", ", ".join(readers), path)
    with _errors_naming(path):
        arrays = readers[path.suffix](path)
    return {name: partial(_read_named, path, read) for name, read in arrays.items()}


@contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    """Say which file it was that could not be read."""
    try:
        yield
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as {path.suffix} without unpickling: {reason}") from error


def _read_named(path: Path, read: Callable[[], Tensor]) -> Tensor:
    with _errors_naming(path):
        return read()


def finite_matrix(name: str, array: Tensor) -> Tensor:
    """Return the array if it is a matrix of finite floats.

    Raises:
        ValueError: if it is not; ``name`` says what.
    """
    floats = array.ndim == 2 and array.is_floating_point() and array.numel() > 0
    require(floats, "{} must be a matrix of floats, got {} {}", name, array.dtype, tuple(array.shape))
    broken = torch.cat([(~rows.isfinite()).any(dim=1) for rows in torch.split(array, 4096)]).nonzero().flatten()
    message = "{} must be finite, but {} of {} rows hold NaN or infinity, the first of them row {}"
    require(len(broken) == 0, message, name, len(broken), len(array), *broken[:1].tolist())
    return array


def _npy(path: Path) -> dict[str, Callable[[], Tensor]]:
    return {"": torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)).detach}


def _npz(path: Path) -> dict[str, Callable[[], Tensor]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: partial(_member, path, name) for name in archive.files}


def _member(path: Path, name: str) -> Tensor:
    with np.load(path, allow_pickle=False) as archive:
        return torch.from_numpy(archive[name])


def _safetensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    names: list[str] = file.keys()  # type: ignore[no-untyped-call]
    return {name: partial(file.get_tensor, name) for name in names}


def _torch(path: Path) -> dict[str, Callable[[], Tensor]]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    tensors = content if isinstance(content, dict) else {"": content}
    found = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    require(bool(found), "it must hold tensors, got {}", type(content).__name__)
    return {name: tensor.detach for name, tensor in found.items()}


def _only_or_named(path: Path, name: str) -> Tensor:
    arrays = read_arrays(path)
    if len(arrays) == 1:
        return next(iter(arrays.values()))()
    require(name in arrays, "{} must hold {!r}, got {}", path, name, ", ".join(map(repr, arrays)))
    return arrays[name]()


def _of_folder(name: str, folder: Path) -> ModelOutput:
    found = read_embeddings(folder)
    model = _embeddings(name, found.image_embeds, found.text_embeds)
    return replace(model, image_ids=found.image_ids, text_image_ids=found.text_image_ids)


def _embeddings(name: str, images: Tensor, texts: Tensor) -> ModelOutput:
    images, texts = finite_matrix(f"{name}: image_embeds", images), finite_matrix(f"{name}: text_embeds", texts)
    message = "{}: image_embeds and text_embeds must be of one width, got {} and {}"
    require(images.shape[1] == texts.shape[1], message, name, images.shape[1], texts.shape[1])
    dtype = torch.float64 if torch.float64 in (images.dtype, texts.dtype) else torch.float32
    return ModelOutput(name, images.to(dtype), texts.to(dtype))


def _scores(name: str, scores: Tensor) -> ModelOutput:
    scores = finite_matrix(f"{name}: scores", scores)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32  # whole numbers up to 2 ** 24 are exact
    rows, columns = (torch.arange(count, dtype=dtype)[:, None] for count in scores.shape)
    return ModelOutput(name, rows, columns, ScoreLookup(scores))
