"""What a batch says about its pictures and texts, besides the pictures and texts: ids, labels, matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.distributed import gather_rows, process_count, process_rank
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.similarity import caption_relevance, rescale_similarity, unit_length

Ids: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[int] | Sequence[str]
"""Integers or strings, one a row."""

DISTRACTOR = -1
"""The image id of a text that describes no image, a candidate that is no query."""


@runtime_checkable
class LabelTable(Protocol):
    """Anything that grades images against texts by their ids, as a ``RelevanceTable`` does."""

    def block(self, image_ids: Tensor, text_ids: Tensor) -> Tensor:
        """Relevance ``(N, M)`` in [0, 1] of images to texts."""


def label_of(table: LabelTable | None) -> str:
    """What to print beside values under the labels of a ``table``, or of the ``text_features`` if there is none."""
    return "text features" if table is None else getattr(table, "label", type(table).__name__)


@dataclass(frozen=True, init=False)
class RetrievalTargets:
    """Ids of a batch and, where there are labels, its relevance; nothing in it is ever written to.

    Args:
        image_ids: ``(N,)`` integers or strings (a tensor, an array or a list); ``None`` together with
            ``text_image_ids`` means pairs: the first text describes the first image, and no pair is like another.
        text_image_ids: ``(M,)`` the id of the image that each text describes; -1, also among strings, for none (a
            distractor).
        text_ids: ``(M,)`` what tells texts apart; needed to look labels up in a table.
        relevance: the batch's block ``(N, M)`` in [0, 1], or a table to look it up in.
        text_features: ``(M, F)`` sentence embeddings to derive relevance from: the cosine of two texts, negatives
            clipped to 0; of an image, the best over its own texts.

    Raises:
        ValueError: ids that are neither integers nor strings, or strings for images and integers for texts.
    """

    image_ids: Tensor | None
    text_image_ids: Tensor | None
    text_ids: Tensor | None
    relevance: Tensor | LabelTable | None
    text_features: Tensor | None

    def __init__(
        self,
        image_ids: Ids | None,
        text_image_ids: Ids | None,
        *,
        text_ids: Ids | None = None,
        relevance: Any = None,
        text_features: Any = None,
    ) -> None:
        both = (image_ids is None) == (text_image_ids is None)
        lacking, named = ("image_ids", "text_image_ids") if image_ids is None else ("text_image_ids", "image_ids")
        require(both, "{} must be given where {} are: which image does each text describe?", lacking, named)
        fields = {
            "image_ids": None if image_ids is None else as_ids("image_ids", image_ids),
            "text_image_ids": None if text_image_ids is None else as_ids("text_image_ids", text_image_ids),
            "text_ids": None if text_ids is None else as_ids("text_ids", text_ids),
            "relevance": relevance if isinstance(relevance, LabelTable | None) else _constant("relevance", relevance),
            "text_features": None if text_features is None else _constant("text_features", text_features),
        }
        features = fields["text_features"]
        if isinstance(features, Tensor):
            require(features.ndim == 2, "text_features must be one row for each text, got shape {}", features.shape)
        told = [ids for ids in (image_ids, text_image_ids) if not isinstance(ids, Tensor | None)]
        if told and image_ids is not None and text_image_ids is not None:
            _check_one_kind(image_ids, text_image_ids)
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def resolve(self, image_embeds: Tensor, text_embeds: Tensor, first_pair: int = 0) -> RetrievalTargets:
        """The targets of these embeddings: on their device, checked against them, pairs numbered.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            first_pair: how many pairs without ids came before. Numbers differ between processes too.

        Raises:
            ValueError: where there is not one id per embedding, naming what does not fit.
        """
        image_ids, text_image_ids = self.image_ids, self.text_image_ids
        images, texts, device = len(image_embeds), len(text_embeds), image_embeds.device
        if image_ids is None or text_image_ids is None:
            require(images == texts, "a batch without image_ids and text_image_ids must be pairs, got {} images and {} "
                    "texts: return RetrievalTargets with ids from retrieval_targets(batch)", images, texts)  # fmt: skip
            from_table = isinstance(self.relevance, LabelTable)
            require(not from_table, "image_ids are needed to look relevance up in a table, got None")
            numbers = first_pair + torch.arange(images, device=device)
            image_ids = text_image_ids = numbers * process_count() + process_rank()
        fields: dict[str, Any] = {**vars(self), "image_ids": image_ids, "text_image_ids": text_image_ids}
        resolved = RetrievalTargets(
            **{name: value.to(device) if isinstance(value, Tensor) else value for name, value in fields.items()}
        )
        for name in ("image_ids", "text_image_ids", "text_ids", "text_features"):
            value, (kind, rows) = getattr(resolved, name), ("image", images) if name == "image_ids" else ("text", texts)
            count = rows if value is None else len(value)
            message = "{} must have one entry for each of the {} {} embeddings, got {}"
            require(count == rows, message, name, rows, kind, count)
        if isinstance(resolved.relevance, Tensor):
            shape = tuple(resolved.relevance.shape)
            message = "relevance must be a block of {} images x {} texts, got shape {}"
            require(shape == (images, texts), message, images, texts, shape)
        return resolved

    def positives(self, images: slice = slice(None), texts: slice = slice(None)) -> Tensor:
        """``(N, M)`` bool: the texts that describe an image."""
        image_ids, text_image_ids = (ids[rows] for ids, rows in zip(self.known_ids(), (images, texts), strict=True))
        return (image_ids[:, None] == text_image_ids) & (text_image_ids != DISTRACTOR)

    def matches_within(self, direction: Direction, queries: slice) -> Tensor:
        """``(Q, C)`` bool: the images (``"i2i"``) or texts (``"t2t"``) of the same image, the query among them."""
        ids = self.known_ids()[0 if direction == "i2i" else 1]
        return (ids[queries, None] == ids) & (ids != DISTRACTOR)

    def known_ids(self) -> tuple[Tensor, Tensor]:
        """``image_ids (N,)`` and ``text_image_ids (M,)``.

        Raises:
            ValueError: where pairs have not been numbered yet, which :meth:`resolve` does.
        """
        if self.image_ids is None or self.text_image_ids is None:
            raise ValueError("targets of pairs without ids have none before they are resolved with their embeddings")
        return self.image_ids, self.text_image_ids

    def relevance_between(self, images: slice, texts: slice) -> Tensor | None:
        """Relevance of these images to these texts, or ``None`` where there are no labels.

        Raises:
            ValueError: where a table is to be asked and there are no ``text_ids``.
        """
        if isinstance(self.relevance, Tensor):
            return self.relevance[images, texts]
        if self.relevance is not None:
            require(self.text_ids is not None, "text_ids are needed to look relevance up in a table, got None")
            return self.relevance.block(self.known_ids()[0][images], self.text_ids[texts]).detach()  # type: ignore[index]
        if self.text_features is not None:
            return _relevance_of_features(self, images, texts)
        return None

    def relevance_within(self, direction: Direction, queries: slice) -> Tensor | None:
        """Relevance ``(Q, C)`` of images to all images (``"i2i"``) or of texts to all texts (``"t2t"``).

        A table answers by its ``between_images()`` or ``between_texts()``. Of ``text_features`` it is the cosine of two
        texts, negatives clipped to 0, or the largest one between a text of the one image and one of the other.

        Raises:
            ValueError: where the table has no such labels, or there are no ``text_ids`` to look up.
        """
        if isinstance(self.relevance, LabelTable):
            ids = self.known_ids()[0] if direction == "i2i" else self.text_ids
            require(ids is not None, "text_ids are needed to look relevance up in a table, got None")
            method = "between_images" if direction == "i2i" else "between_texts"
            between = getattr(self.relevance, method, None)
            if between is None:
                kind = type(self.relevance).__name__
                raise ValueError(f"direction {direction!r} needs labels with a method {method}(), got {kind}")
            return between().block(ids[queries], ids).detach()  # type: ignore[no-any-return, index]
        if self.text_features is None:
            return None
        if direction == "i2i":
            return _between_images(self, queries)
        with torch.autocast(self.text_features.device.type, enabled=False):
            features = unit_length(self.text_features.float())
            return rescale_similarity(features[queries] @ features.T, "clip")

    def gathered(self) -> RetrievalTargets:
        """Targets of all processes, in the order of their ranks; a table stays what it is."""
        self.known_ids()  # or its error
        rows = {name: value for name, value in vars(self).items() if isinstance(value, Tensor) and name != "relevance"}
        return replace(self, **{name: gather_rows(value) for name, value in rows.items()})


def as_ids(name: str, ids: Ids) -> Tensor:
    """Ids ``(rows,)`` int64; strings become 63-bit digests, the same in every process.

    Args:
        name: of the argument, for messages.
        ids: integers or strings in a tensor, an array or a sequence.

    Raises:
        ValueError: for anything else, or more than one column.

    Example:
        >>> as_ids("image_ids", [3, 5])
        tensor([3, 5])
        >>> as_ids("image_ids", ["dog.jpg"]).tolist()
        [3913895878567093081]
    """
    if isinstance(ids, Mapping | str | bytes) or not (hasattr(ids, "__len__") and hasattr(ids, "__getitem__")):
        raise ValueError(f"{name} must be integers or strings, one a row, got {type(ids).__name__}")
    if isinstance(ids, Tensor):
        tensor = ids.detach()
    else:
        rows = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if _are_strings(rows) and all(isinstance(row, str) or _is_distractor(row) for row in rows):
            return torch.tensor([_digest(row) if isinstance(row, str) else DISTRACTOR for row in rows])
        try:
            tensor = torch.as_tensor(rows) if rows else torch.empty(0, dtype=torch.int64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            if all(isinstance(row, int) for row in rows):
                raise ValueError(f"{name} must be integers of 64 bits, got larger ones: pass them as strings") from None
            kinds = ", ".join(sorted({type(row).__name__ for row in rows}))
            raise ValueError(f"{name} must be integers or strings, one a row, got a list of {kinds}") from None
    if tensor.ndim == 2 and tensor.shape[1] == 1:  # what default_collate makes of one-element tensors
        tensor = tensor[:, 0]
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    message = "{} must be integers or strings, one a row, got {} {}"
    require(whole and tensor.ndim == 1, message, name, tensor.dtype, tuple(tensor.shape))
    return tensor.long()


def _check_one_kind(image_ids: Ids, text_image_ids: Ids) -> None:
    """Refuse strings beside integers, unless those say only that there is no image."""
    if _are_strings(image_ids) != _are_strings(text_image_ids):
        integers = as_ids("ids", text_image_ids if _are_strings(image_ids) else image_ids)
        one_kind = bool((integers == DISTRACTOR).all())
        require(one_kind, "image_ids and text_image_ids must be of one kind, got strings and integers")


def _are_strings(ids: Any) -> bool:
    return not isinstance(ids, Tensor) and any(isinstance(row, str) for row in ids)


def _is_distractor(row: Any) -> bool:
    return isinstance(row, int) and row == DISTRACTOR


def _digest(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _constant(name: str, value: Any) -> Tensor:
    """A tensor without gradient: labels are no part of what is learned."""
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.as_tensor(np.asarray(value) if hasattr(value, "__array__") else value)  # pandas has it
    except (TypeError, ValueError, RuntimeError):
        table = " or a table with a method block(image_ids, text_ids)" if name == "relevance" else ""
        raise ValueError(f"{name} must be a tensor{table}, got {type(value).__name__}") from None


def _relevance_of_features(targets: RetrievalTargets, images: slice, texts: slice) -> Tensor:
    """The best similarity between a text and the captions that the images have among the targets."""
    rows_of_image = _captions_of(targets, images)
    with torch.autocast(rows_of_image.device.type, enabled=False):  # labels decide between near ties
        features = unit_length(targets.text_features.float())  # type: ignore[union-attr]
        return caption_relevance(features, rows_of_image, features[texts])


def _between_images(targets: RetrievalTargets, queries: slice) -> Tensor:
    """The best similarity between a caption of the one image and one of the other."""
    to_texts = _relevance_of_features(targets, queries, slice(None))
    captions = _captions_of(targets, slice(None))
    best = to_texts[:, captions[:, 0]]
    for slot in captions.T[1:]:
        best = torch.maximum(best, to_texts[:, slot])
    return best


def _captions_of(targets: RetrievalTargets, images: slice) -> Tensor:
    """``(N, K)`` rows of the texts of each image among the targets; short lists repeat their first."""
    own = targets.positives(images).int()
    captions = own.sum(1)
    lonely = targets.known_ids()[0][images][captions == 0].tolist()
    require(not lonely, "text_features: every image needs a text of its own in the batch, image ids {} have none",
            lonely[:5])  # fmt: skip
    rows = own.topk(int(captions.max()), dim=1)
    return torch.where(rows.values.bool(), rows.indices, rows.indices[:, :1])
