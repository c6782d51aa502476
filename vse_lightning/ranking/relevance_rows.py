"""Where the graded metrics get their relevance from: a table of labels, or the caption features seen in update."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.checks import require
from vse_lightning.functional.similarity import caption_relevance
from vse_lightning.ranking.gallery import Gallery, first_of_each
from vse_lightning.targets import LabelTable, label_of

RelevanceRows = Callable[[Tensor], Tensor]
"""Maps rows ``(B,)`` of images of a gallery to their relevance ``(B, M)`` to all its texts, safe to write into."""

ROUNDING = 1e-4
"""How far outside [0, 1] relevance may lie by rounding."""


class RelevanceMatrix:
    """A :class:`~vse_lightning.targets.LabelTable` of a given matrix.

    Args:
        relevance: ``(N, M)`` in [0, 1].
        image_ids: ``(N,)`` int64; where one comes again, its first row counts.
        text_ids: ``(M,)`` int64, likewise.
    """

    label = "given relevance"

    def __init__(self, relevance: Tensor, image_ids: Tensor, text_ids: Tensor) -> None:
        rows, columns = first_of_each(image_ids), first_of_each(text_ids)
        self._relevance, self._rows, self._columns = relevance, rows, columns
        self._image_ids, self._text_ids = image_ids[rows], text_ids[columns]

    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts, whatever ``captions_per_image``."""
        rows = self._rows[torch.searchsorted(self._image_ids, image_ids)]
        columns = self._columns[torch.searchsorted(self._text_ids, text_ids)]
        return self._relevance[rows[:, None], columns]


def relevance_rows(gallery: Gallery, table: LabelTable | None, captions_per_image: int | None) -> RelevanceRows | None:
    """Relevance from the ``table`` or else from the gallery's ``text_features``; None where there is neither."""
    if table is not None:
        return _from_table(gallery, table, captions_per_image)
    return None if gallery.text_features is None else _from_features(gallery, gallery.text_features)


def within_range(relevance: Tensor, label: str) -> Tensor:
    """A copy of the ``relevance``, without what rounding left outside [0, 1].

    Raises:
        ValueError: if more than rounding lies outside, or NaN.
    """
    if relevance.numel():
        low, high = (bound.item() for bound in relevance.aminmax())
        inside = low >= -ROUNDING and high <= 1 + ROUNDING
        require(inside, "relevance must lie in [0, 1], but {} has values from {} to {}", label, low, high)
    return relevance.clamp(0, 1)


def _from_table(gallery: Gallery, table: LabelTable, captions_per_image: int | None) -> RelevanceRows:
    text_ids = gallery.text_ids
    if text_ids is None:
        raise ValueError("a relevance table needs text_ids in update")
    options = {} if captions_per_image is None else {"captions_per_image": captions_per_image}
    if options:
        parameters = inspect.signature(table.block).parameters
        takes_it = "captions_per_image" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        message = "captions_per_image={}: {}.block must take captions_per_image too, to grade by the same captions"
        require(takes_it, message, captions_per_image, type(table).__name__)
    block_of = cast("Any", table).block  # captions_per_image is no part of the protocol

    def rows(images: Tensor) -> Tensor:
        block = torch.as_tensor(block_of(gallery.image_ids[images], text_ids, **options))
        expected = (len(images), len(text_ids))
        fits = block.shape == expected
        require(fits, "relevance.block must return {} for these ids, got {}", expected, tuple(block.shape))
        return within_range(block.to(gallery.image_ids.device), label_of(table))

    return rows


def _from_features(gallery: Gallery, text_features: Tensor) -> RelevanceRows:
    features = normalize(text_features.float(), dim=1)
    captions = gallery.captions_of_image
    require(len(gallery.lonely_images()) == 0, "text_features grade only images with a text")
    captions = captions.where(captions >= 0, captions[:, :1])

    def rows(images: Tensor) -> Tensor:
        # Products of fewer than 64 rows may round differently from row to row, which would break ties.
        padding = images[:1].expand(max(0, 64 - len(images)))
        slots = captions[torch.cat([images, padding])]
        return caption_relevance(features, slots, features)[: len(images)]

    return rows
