"""Embeddings and score matrices from files, as models to be measured."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from vse_lightning.array_files import read_arrays
from vse_lightning.checks import require
from vse_lightning.embedding_files import read_embeddings
from vse_lightning.functional.similarity import Similarity, cosine_similarity
from vse_lightning.paths import existing_path

LARGEST = 1e10
"""Of entries of embeddings whose squares are sure to be floats above the epsilon of a norm."""


@dataclass(frozen=True)
class ModelOutput:
    """What a model made of the images and texts."""

    name: str  # what the results are printed under
    image_embeds: Tensor  # (N, D)
    text_embeds: Tensor  # (M, D)
    similarity: Similarity = cosine_similarity
    image_ids: Tensor | None = None  # (N,) ascending, where ``predict`` wrote them
    text_image_ids: Tensor | None = None  # (M,) the image that each text describes, likewise


def read_model(specification: str, image_key: str, text_key: str, scores_key: str) -> ModelOutput:
    """Read ``[NAME=]FILE`` or ``[NAME=]IMAGES,TEXTS``.

    A single ``.npy``, or tensor in a ``.pt``, is a matrix of scores; another file holds an array ``scores_key``, or
    ``image_key`` and ``text_key``. A folder is one that ``predict`` wrote: its rows are brought into the order of their
    ids. The name defaults to that of the file.
    """
    name, paths = _split_specification(specification)
    require(len(paths) <= 2, "a model must be one file or IMAGES,TEXTS, got {} files for {}", len(paths), name)
    where = f"{name} ({', '.join(map(str, paths))})"
    return replace(_read(where, paths, image_key, text_key, scores_key), name=name)


def _read(name: str, paths: Sequence[Path], image_key: str, text_key: str, scores_key: str) -> ModelOutput:
    """The output in one file or folder, or in two files; ``name`` is for messages."""
    if len(paths) == 2:
        return _embeddings(name, _only_or_named(paths[0], image_key), _only_or_named(paths[1], text_key))
    if paths[0].is_dir():
        found = read_embeddings(paths[0])
        model = _embeddings(name, found.image_embeds, found.text_embeds)
        return replace(model, image_ids=found.image_ids, text_image_ids=found.text_image_ids)
    arrays = read_arrays(paths[0])
    if "" in arrays:  # without a name
        return _scores(name, arrays[""]())
    if scores_key in arrays:
        return _scores(name, arrays[scores_key]())
    if image_key in arrays and text_key in arrays:
        return _embeddings(name, arrays[image_key](), arrays[text_key]())
    raise ValueError(
        f"{paths[0]} must hold {scores_key!r}, or {image_key!r} and {text_key!r}, got "
        f"{_listed(arrays)}: name them with --scores_key, or --image_key and --text_key"
    )


def _split_specification(specification: str) -> tuple[str, list[Path]]:
    """Take ``[NAME=]FILE[,FILE]`` apart; the name defaults to that of the files without suffix."""
    name, equals, files = specification.partition("=")
    if not equals or "/" in name or Path(specification).exists():
        name, files = "", specification
    paths = [existing_path("model", path) for path in ([files] if Path(files).exists() else files.split(","))]
    return name or ",".join(path.stem for path in paths), paths


def finite_matrix(name: str, array: Tensor) -> Tensor:
    """Return the array if it is a matrix of finite floats; messages call it ``name`` and say what to save instead."""
    floats = array.ndim == 2 and array.is_floating_point() and array.numel() > 0
    found = str(array.dtype).removeprefix("torch."), tuple(array.shape)
    require(floats, "{} must be a matrix of floats, got {} {}{}", name, *found, _remedy(array))
    array = array.float() if array.dtype.itemsize == 1 else array  # PyTorch computes little with 8 bits
    broken = torch.cat([(~rows.isfinite()).any(dim=1) for rows in torch.split(array, 4096)]).nonzero().flatten()
    message = "{} must be finite, but {} of {} rows hold NaN or infinity, the first of them row {}"
    require(len(broken) == 0, message, name, len(broken), len(array), *broken[:1].tolist())
    return array


def _remedy(array: Tensor) -> str:
    if array.ndim == 3:
        return ": pool the regions, tokens or views of each to one vector, and save (rows, width)"
    if array.ndim == 2 and array.numel() > 0 and not array.is_complex():
        return ": these may be quantised values or packed bits; if they are the values themselves, save them as float32"
    return ""


def _only_or_named(path: Path, name: str) -> Tensor:
    arrays = read_arrays(path)
    if len(arrays) == 1:
        return next(iter(arrays.values()))()
    require(name in arrays, "{} must hold {!r}, got {}", path, name, _listed(arrays))
    return arrays[name]()


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _embeddings(name: str, images: Tensor, texts: Tensor) -> ModelOutput:
    images, texts = finite_matrix(f"{name}: image_embeds", images), finite_matrix(f"{name}: text_embeds", texts)
    message = "{}: image_embeds and text_embeds must be of one width, got {} and {}"
    require(images.shape[1] == texts.shape[1], message, name, images.shape[1], texts.shape[1])
    dtype = torch.float64 if torch.float64 in (images.dtype, texts.dtype) else torch.float32
    images, texts = images.to(dtype), texts.to(dtype)
    return ModelOutput(name, _with_length(f"{name}: image_embeds", images), _with_length(f"{name}: text_embeds", texts))


def _with_length(name: str, embeds: Tensor) -> Tensor:
    """The embeddings; those whose squares would overflow or vanish get another length, which no cosine sees."""
    largest = torch.cat([rows.abs().amax(dim=1) for rows in torch.split(embeds, 4096)])
    zero = (largest == 0).nonzero().flatten().tolist()
    if zero:
        found = f"{name}: {len(zero)} of {len(embeds)} rows are all zeros, the first of them row {zero[0]}"
        warn(f"{found}; they have no direction, and their cosine with everything is taken as 0", stacklevel=2)
    extreme = ((largest > LARGEST) | (largest < 1 / LARGEST)) & (largest > 0)
    if not bool(extreme.any()):
        return embeds
    return torch.where(extreme[:, None], embeds / largest[:, None], embeds)


def _scores(name: str, scores: Tensor) -> ModelOutput:
    whole = scores.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    scores = finite_matrix(f"{name}: scores", scores.double() if whole else scores)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32  # whole numbers up to 2 ** 24 are exact
    rows, columns = (torch.arange(count, dtype=dtype)[:, None] for count in scores.shape)
    return ModelOutput(name, rows, columns, partial(_looked_up, scores))


def _looked_up(scores: Tensor, image_rows: Tensor, text_columns: Tensor) -> Tensor:
    """Similarity of "embeddings" that are rows ``(B, 1)`` and columns ``(C, 1)`` of a matrix: its entries ``(B, C)``.

    So a matrix of scores takes the same way through folds, protocols and blocks as embeddings do.
    """
    return scores[image_rows[:, 0].long()][:, text_columns[:, 0].long()]
