"""Image-to-image and text-to-text retrieval: a query ranks all others of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead_of_positives
from vse_lightning.ranking.across import gather_queries, progress
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores
from vse_lightning.ranking.reading import Reading
from vse_lightning.ranking.relevance_rows import RelevanceRows, relevance_rows
from vse_lightning.targets import LabelTable


def one_kind(gallery: Gallery, direction: Literal["i2i", "t2t"]) -> Gallery:
    """The images (``i2i``) or the texts (``t2t``) of a gallery, in the place of both: each the only text of itself."""
    if direction == "i2i":
        own = torch.arange(len(gallery.image_ids), device=gallery.image_ids.device)
        return Gallery(gallery.image_embeds, gallery.image_embeds, gallery.image_ids, own)
    own = torch.arange(len(gallery.text_embeds), device=gallery.image_ids.device)
    ids = own if gallery.text_ids is None else gallery.text_ids
    return Gallery(gallery.text_embeds, gallery.text_embeds, ids, own, gallery.text_ids, gallery.text_features)


def relevance_of_images(gallery: Gallery, relevance_rows: RelevanceRows) -> RelevanceRows:
    """Relevance of images to images, all with a text: that of the image to the most relevant text of the other one."""
    captions = gallery.captions_of_image
    captions = captions.where(captions >= 0, captions[:, :1])

    def rows(images: Tensor) -> Tensor:
        to_texts = relevance_rows(images)
        best = to_texts[:, captions[:, 0]]
        for slot in captions.T[1:]:
            torch.maximum(best, to_texts[:, slot], out=best)
        return best

    return rows


def relevance_of_texts(gallery: Gallery, table: LabelTable | None) -> RelevanceRows | None:
    """Relevance of texts to texts, as if each were the only text of an image of its own."""
    if table is not None:
        between_texts: Callable[[], LabelTable] | None = getattr(table, "between_texts", None)
        if between_texts is None:
            raise ValueError(f"direction 't2t' needs labels with a method between_texts, got {table!r}")
        table = between_texts()
    return relevance_rows(one_kind(gallery, "t2t"), table, captions_per_image=None)


def rank_within(
    pair_scores: PairScores,
    image_of: Tensor,
    relevance_rows: RelevanceRows | None,
    reading: Reading,
    processes: Processes,
) -> Ranking:
    """Rank all others for each of ``C`` images or texts, block by block; the query itself is no candidate.

    Args:
        pair_scores: of all with all.
        image_of: ``(C,)`` int64: others of the same image are positives; -1 belongs to none.
        relevance_rows: relevance ``(B, C)`` of some to all; needed where the reading is graded.
        reading: what to read.
        processes: that call this with the same arguments and share the blocks.

    Returns:
        A ranking of ``(C,)`` queries.
    """
    everyone = torch.arange(len(image_of), device=image_of.device)
    queries: list[Tensor] = []
    rankings: list[Ranking] = []
    for block in progress(processes.share(pair_scores.blocks), processes):
        for rows, scores in pair_scores.score(block):
            other = everyone != rows[:, None]
            positives = _only(other, (image_of[rows, None] == image_of) & (image_of >= 0))
            relevance = None
            if reading.graded and relevance_rows is not None:
                relevance = _only(other, relevance_rows(rows).to(scores.dtype)).masked_fill(positives, 1)
            others = _only(other, scores)
            ranking = Ranking.of(others, relevance, listed=reading.listed, ideal=reading.ideal)
            ranking = replace(ranking, candidates=ranking.candidates + (ranking.candidates >= rows[:, None]))
            if reading.positives:
                ranking = ranking.with_positives(*count_ahead_of_positives(others, positives, reading.positives))
            queries.append(rows)
            rankings.append(ranking)
    return gather_queries(rankings, queries, processes)


def _only(other: Tensor, block: Tensor) -> Tensor:
    """The block ``(B, C)`` without the query of each row: ``(B, C - 1)``."""
    return block[other].view(len(block), -1)
