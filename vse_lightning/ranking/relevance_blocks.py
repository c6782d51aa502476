"""Where the graded metrics get their relevance from: a table of labels, or the caption features seen in update."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.similarity import caption_relevance, unit_length
from vse_lightning.ranking.gallery import Gallery, first_of_each
from vse_lightning.targets import LabelTable, label_of

RelevanceBlocks = Callable[[Tensor | None, Tensor | None], Tensor]
"""Relevance of images to texts by their rows in a gallery, None for all of them; safe to write into."""

ROUNDING = 1e-4
"""How far outside [0, 1] relevance may lie by rounding."""


class RelevanceMatrix:
    """A :class:`~vse_lightning.targets.LabelTable` of a given matrix.

    Args:
        relevance: ``(N, M)`` in [0, 1].
        image_ids: ``(N,)`` int64; where one comes again, its first row counts.
        text_ids: ``(M,)`` int64, likewise.
        label: what tables call it.
    """

    def __init__(self, relevance: Tensor, image_ids: Tensor, text_ids: Tensor, label: str = "given relevance") -> None:
        self.label = label
        rows, columns = first_of_each(image_ids), first_of_each(text_ids)
        self._relevance, self._rows, self._columns = relevance, rows, columns
        self._image_ids, self._text_ids = image_ids[rows], text_ids[columns]

    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts, whatever ``captions_per_image``."""
        rows = self._rows[torch.searchsorted(self._image_ids, image_ids)]
        columns = self._columns[torch.searchsorted(self._text_ids, text_ids)]
        return self._relevance[rows[:, None], columns]


def relevance_blocks(
    gallery: Gallery, table: LabelTable | None, captions_per_image: int | None = None
) -> RelevanceBlocks | None:
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


def relevance_of_images(gallery: Gallery, labels: RelevanceBlocks) -> RelevanceBlocks:
    """Relevance of images to images, all with a text: that of the image to the most relevant text of the other one."""
    captions = gallery.captions_of_image
    captions = captions.where(captions >= 0, captions[:, :1])

    def block(images: Tensor | None, others: Tensor | None) -> Tensor:
        to_texts = labels(images, None)
        slots = (captions if others is None else captions[others]).T
        best = to_texts[:, slots[0]]
        for slot in slots[1:]:
            torch.maximum(best, to_texts[:, slot], out=best)
        return best

    return block


def relevance_of_texts(gallery: Gallery, table: LabelTable | None) -> RelevanceBlocks | None:
    """Relevance of texts to texts, as if each were the only text of an image of its own."""
    if table is not None:
        between_texts: Callable[[], LabelTable] | None = getattr(table, "between_texts", None)
        if between_texts is None:
            raise ValueError(f"direction 't2t' needs labels with a method between_texts, got {table!r}")
        table = between_texts()
    return relevance_blocks(gallery.texts_alone(), table)


def _from_table(gallery: Gallery, table: LabelTable, captions_per_image: int | None) -> RelevanceBlocks:
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

    def block(images: Tensor | None, texts: Tensor | None) -> Tensor:
        asked = [ids if rows is None else ids[rows] for ids, rows in ((gallery.image_ids, images), (text_ids, texts))]
        relevance = torch.as_tensor(block_of(*asked, **options))
        expected = len(asked[0]), len(asked[1])
        fits = relevance.shape == expected
        require(fits, "relevance.block must return {} for these ids, got {}", expected, tuple(relevance.shape))
        return within_range(relevance.to(gallery.image_ids.device), label_of(table))

    return block


def _from_features(gallery: Gallery, text_features: Tensor) -> RelevanceBlocks:
    features = unit_length(text_features.float())
    captions = gallery.captions_of_image
    require(len(gallery.lonely_images()) == 0, "text_features grade only images with a text")
    captions = captions.where(captions >= 0, captions[:, :1])

    def block(images: Tensor | None, texts: Tensor | None) -> Tensor:
        slots = captions if images is None else captions[_padded(images)]
        asked = features if texts is None else features[_padded(texts)]
        relevance = caption_relevance(features, slots, asked)
        return relevance[: None if images is None else len(images), : None if texts is None else len(texts)]

    return block


def _padded(rows: Tensor) -> Tensor:
    """At least 64 rows: products of fewer may round differently from row to row, which would break ties."""
    return torch.cat([rows, rows[:1].expand(max(0, 64 - len(rows)))])
