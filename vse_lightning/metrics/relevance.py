"""Where the graded metrics get their relevance from: a table of labels, or the caption features seen in update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.functional.similarity import caption_relevance
from vse_lightning.metrics.gallery import Gallery

RelevanceRows = Callable[[Tensor], Tensor]
"""Maps rows ``(B,)`` of images of a gallery to their relevance ``(B, M)`` to all its texts, safe to write into."""


class RelevanceBlocks(Protocol):
    """What the metrics ask of a :class:`~vse_lightning.relevance.RelevanceTable`."""

    label: str

    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` in [0, 1] of images to texts."""
        ...


def label_of(table: RelevanceBlocks | None) -> str:
    """What to print beside values under the labels of a ``table``, or of the ``text_features`` if there is none."""
    return "text features" if table is None else getattr(table, "label", type(table).__name__)


def relevance_rows(
    gallery: Gallery, table: RelevanceBlocks | None, captions_per_image: int | None
) -> RelevanceRows | None:
    """Relevance from the ``table`` or else from the gallery's ``text_features``; None where there is neither."""
    if table is not None:
        return _from_table(gallery, table, captions_per_image)
    return None if gallery.text_features is None else _from_features(gallery, gallery.text_features)


def _from_table(gallery: Gallery, table: RelevanceBlocks, captions_per_image: int | None) -> RelevanceRows:
    text_ids = gallery.text_ids
    if text_ids is None:
        raise ValueError("a relevance table needs text_ids in update")
    options = {} if captions_per_image is None else {"captions_per_image": captions_per_image}

    def rows(images: Tensor) -> Tensor:
        block = table.block(gallery.image_ids[images], text_ids, **options)
        if block.shape != (len(images), len(text_ids)):
            expected = (len(images), len(text_ids))
            raise ValueError(f"relevance.block must return {expected} for these ids, got {tuple(block.shape)}")
        low, high = (bound.item() for bound in block.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"relevance must lie in [0, 1], but {label_of(table)} has values from {low} to {high}")
        return block.clone()  # a table may return a view of what it stores

    return rows


def _from_features(gallery: Gallery, text_features: Tensor) -> RelevanceRows:
    features = normalize(text_features.float(), dim=1)
    captions = gallery.captions_of_image
    captions = captions.where(captions >= 0, captions[:, :1])

    def rows(images: Tensor) -> Tensor:
        # Products of fewer than 64 rows may round differently from row to row, which would break ties.
        padding = images[:1].expand(max(0, 64 - len(images)))
        slots = captions[torch.cat([images, padding])]
        return caption_relevance(features, slots, features)[: len(images)]

    return rows
