"""The best candidates of every query while candidates arrive block by block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vse_lightning.functional.ranking import Ranking


class RunningLists:
    """Merges blocks of candidates into one ranking.

    Once the lists are full, a block adds only what reaches the last place of a list: few, and fewer with every block.

    Args:
        listed: how many of the best-scored candidates to list.
        ideal: how many of the largest relevances to keep.
    """

    def __init__(self, listed: int, ideal: int) -> None:
        self._listed = listed
        self._ideal = ideal
        self._rankings: list[Ranking] = []  # the first of what was merged, then what came since

    def add(self, candidates: Tensor, scores: Tensor, relevance: Tensor | None) -> None:
        """Add ``candidates (B,)`` with their ``scores (B, Q)`` and ``relevance (B, Q)`` for the queries."""
        contenders = self._contenders(candidates, scores, relevance)
        self._rankings.append(contenders or self._all(candidates, scores, relevance))
        if sum(block.scores.shape[1] for block in self._rankings[1:]) > self._listed:
            self._rankings = [self.merge(self._rankings)]

    def ranking(self) -> Ranking:
        """Of all candidates added."""
        return self.merge(self._rankings)

    def merge(self, rankings: Sequence[Ranking]) -> Ranking:
        """One ranking from several of the same queries."""
        return Ranking.merge(rankings, self._listed, self._ideal)

    def _all(self, candidates: Tensor, scores: Tensor, relevance: Tensor | None) -> Ranking:
        lists = scores.T
        if relevance is not None:
            lists, relevance = lists.contiguous(), relevance.T.contiguous()
        return Ranking.of(lists, relevance, listed=self._listed, ideal=self._ideal, candidates=candidates)

    def _contenders(self, candidates: Tensor, scores: Tensor, relevance: Tensor | None) -> Ranking | None:
        """Only the candidates that reach the lists so far; None where that would save nothing."""
        if not self._rankings or relevance is None:
            return None
        best = self._rankings[0]
        if best.scores.shape[1] < self._listed or best.ideal.shape[1] < self._ideal:
            return None
        reach_list = scores >= best.scores[:, -1]
        if reach_list.view(torch.uint8).sum(dtype=torch.int64) > reach_list.numel() // 4:
            return None
        places = _Places(reach_list)
        names = candidates[:, None].expand_as(scores)
        ideal = best.ideal
        if self._ideal:
            ideal = _Places(relevance > best.ideal[:, -1]).pack(relevance, 0)
        return Ranking(
            num_candidates=torch.full_like(best.num_candidates, len(candidates)),
            num_positives=best.num_positives,
            ahead=best.ahead,
            alongside=best.alongside,
            candidates=places.pack(names, -1),
            scores=places.pack(scores, -torch.inf),
            relevance=places.pack(relevance, 0),
            overflow=torch.zeros_like(best.overflow),
            ideal=ideal,
        )


class _Places:
    """Where the marked entries of a mask ``(B, Q)`` go in short lists ``(Q, W)``, in order and padded at the end."""

    def __init__(self, mask: Tensor) -> None:
        self._query, self._row = mask.T.contiguous().nonzero(as_tuple=True)
        counts = torch.bincount(self._query, minlength=mask.shape[1])
        start = counts.cumsum(0) - counts
        self._slot = torch.arange(len(self._query), device=mask.device) - start[self._query]
        self._shape = (mask.shape[1], int(counts.max()))

    def pack(self, block: Tensor, padding: float) -> Tensor:
        """The entries of ``block (B, Q)`` in their places."""
        lists = block.new_full(self._shape, padding)
        lists[self._query, self._slot] = block[self._row, self._query]
        return lists
