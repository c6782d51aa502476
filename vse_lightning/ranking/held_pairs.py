"""Scores and relevance of all pairs, for the texts' whole lists: what the images' lists held is not computed again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vse_lightning.ranking.candidate_lists import CandidateLists
from vse_lightning.ranking.pair_scores import Block

MOST_PAIRS = 2**27
"""Of more, the products are made twice, which costs time but no memory: so many take 1 GiB."""


class HeldPairs:
    """Takes the lists of all images and scores texts as :class:`~vse_lightning.ranking.pair_scores.PairScores` does.

    Args:
        num_images: N.
        num_texts: M.
        rows_per_block: texts that are scored at a time.
    """

    def __init__(self, num_images: int, num_texts: int, rows_per_block: int) -> None:
        self._shape = (num_images, num_texts)
        self._scores: Tensor | None = None
        self._relevance: Tensor | None = None
        starts = range(0, num_texts, rows_per_block)
        self.blocks: list[Block] = [(start, min(start + rows_per_block, num_texts)) for start in starts]

    def add(self, lists: CandidateLists) -> None:
        """Hold the lists of some images."""
        if self._scores is None:
            self._scores = lists.scores.new_empty(self._shape)
            self._relevance = None if lists.relevance is None else lists.relevance.new_empty(self._shape)
        self._scores[lists.queries] = lists.scores
        if self._relevance is not None and lists.relevance is not None:
            self._relevance[lists.queries] = lists.relevance

    def score(self, block: Block) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows ``(B,)`` of the texts of a block with their scores ``(B, N)``."""
        if self._scores is not None:
            yield torch.arange(*block, device=self._scores.device), self._scores[:, slice(*block)].T.contiguous()

    def labels(self, images: Tensor | None, texts: Tensor | None) -> Tensor:
        """Relevance of images to texts by their rows, None for all of them."""
        if self._relevance is None:
            raise ValueError("the lists of the images had no relevance")
        of_images = self._relevance if images is None else self._relevance[images]
        return of_images if texts is None else of_images.index_select(1, texts)
