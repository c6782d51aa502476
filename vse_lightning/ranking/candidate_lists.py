"""Whole candidate lists, a block of queries at a time: images rank texts, texts rank images, or a kind its others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from vse_lightning.distributed import Processes
from vse_lightning.functional._ranks import count_ahead
from vse_lightning.functional.ranking import Ranking
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import Block
from vse_lightning.ranking.reading import Reading
from vse_lightning.ranking.relevance_blocks import RelevanceBlocks

_PAIRS_SORTED_AT_ONCE = 2**21


class ScoredRows(Protocol):
    """What scores queries with all candidates, such as :class:`~vse_lightning.ranking.pair_scores.PairScores`."""

    blocks: list[Block]

    def score(self, block: Block) -> Iterable[tuple[Tensor, Tensor]]:
        """Rows ``(B,)`` of the queries of a block with their scores ``(B, C)``."""


class CandidateLists(NamedTuple):
    """The lists of some queries."""

    queries: Tensor  # (B,) rows of the images or texts that ask
    scores: Tensor  # (B, C)
    relevance: Tensor | None  # (B, C) in [0, 1], 1 at the positives
    positives: Tensor  # (B, P) columns of the positives; -1 where a query has fewer
    itself: Tensor | None = None  # (B,) column of the query, if it is among the candidates

    def ranking(self, reading: Reading) -> Ranking:
        """As much of the ranking as is read."""
        scores, relevance = self.scores, self.relevance if reading.graded else None
        excluded = [] if self.itself is None else [(torch.arange(len(scores), device=scores.device), self.itself)]
        excluded += [pairs(self.positives)] if reading.exclude_positives else []
        num_positives = (self.positives >= 0).sum(dim=1)
        if excluded:
            scores, relevance = without(scores, relevance, excluded)
        ranking = Ranking.of(scores, relevance, listed=reading.listed, ideal=reading.ideal)
        left_out = (self.itself is not None) + num_positives * reading.exclude_positives
        ranking = replace(ranking, num_candidates=ranking.num_candidates - left_out, num_positives=num_positives)
        if reading.positives:
            ahead, alongside = count_ahead(scores, self.positives, reading.positives)
            ranking = replace(ranking, ahead=ahead, alongside=alongside)
        return ranking

    def parts(self) -> Iterator[CandidateLists]:
        """Small parts, at least one: sorting whole lists needs many times the memory of the scores."""
        size = max(1, _PAIRS_SORTED_AT_ONCE // self.scores.shape[1])
        for start in range(0, max(1, len(self.queries)), size):
            yield self.select(slice(start, start + size))

    def select(self, some: Tensor | slice) -> CandidateLists:
        """The lists of some of the queries, by a mask ``(B,)`` or a slice."""
        relevance, itself = (None if part is None else part[some] for part in (self.relevance, self.itself))
        return CandidateLists(self.queries[some], self.scores[some], relevance, self.positives[some], itself)


def pairs(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pair that ``columns (B, P)`` name, -1 left out."""
    row, slot = (columns >= 0).nonzero(as_tuple=True)
    return row, columns[row, slot]


def without(
    scores: Tensor, relevance: Tensor | None, excluded: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor | None]:
    """Copies in which the ``excluded`` pairs come last, below all others, and have no relevance."""
    scores = scores.clamp(min=torch.finfo(scores.dtype).min)
    relevance = None if relevance is None else relevance.clone()
    for pair in excluded:
        scores[pair] = -torch.inf
        if relevance is not None:
            relevance[pair] = 0
    return scores, relevance


def lists_of_images(
    gallery: Gallery, pair_scores: ScoredRows, labels: RelevanceBlocks | None, processes: Processes
) -> Iterator[CandidateLists]:
    """All texts for each image, those without a text too, in blocks that all ``processes`` share."""
    captions = gallery.captions_of_image
    relevance = None if labels is None else lambda rows: labels(rows, None)
    return _lists(pair_scores, processes, relevance, lambda rows: captions[rows])


def lists_of_texts(
    gallery: Gallery, pair_scores: ScoredRows, labels: RelevanceBlocks | None, processes: Processes
) -> Iterator[CandidateLists]:
    """All images for each text, those without an image too; ``pair_scores`` are of texts and images."""
    relevance = None if labels is None else lambda rows: labels(None, rows).T.contiguous()
    return _lists(pair_scores, processes, relevance, lambda rows: gallery.image_of_text[rows, None])


def lists_within(
    pair_scores: ScoredRows, others: Tensor, labels: RelevanceBlocks | None, processes: Processes
) -> Iterator[CandidateLists]:
    """All of a kind for each of them, which is no candidate itself.

    Args:
        pair_scores: of all with all.
        others: ``(C, P)`` those of the same image, oneself among them; -1 where there are fewer.
        labels: relevance of some to all; needed where a reading is graded.
        processes: that share the blocks.
    """
    relevance = None if labels is None else lambda rows: labels(rows, None)

    def positives(rows: Tensor) -> Tensor:
        return others[rows].where(others[rows] != rows[:, None], -1)

    return _lists(pair_scores, processes, relevance, positives, within=True)


def _lists(
    pair_scores: ScoredRows,
    processes: Processes,
    relevance_of: Callable[[Tensor], Tensor] | None,
    positives_of: Callable[[Tensor], Tensor],
    within: bool = False,
) -> Iterator[CandidateLists]:
    """The lists of this process's share of blocks; a bar on the first process if it takes longer than a few seconds."""
    blocks: Sequence[Block] = processes.share(pair_scores.blocks)
    bar: Iterable[Block] = tqdm(blocks, desc="Ranking", unit="block", delay=3, leave=False, disable=processes.rank > 0)
    for block in bar:
        for rows, scores in pair_scores.score(block):
            positives, relevance = positives_of(rows), None
            if relevance_of is not None:
                relevance = relevance_of(rows).to(scores.dtype)
                relevance[pairs(positives)] = 1
            yield CandidateLists(rows, scores, relevance, positives, rows if within else None)
