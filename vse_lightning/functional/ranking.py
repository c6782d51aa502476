"""What the metrics read of a query's candidate list, from whole lists or merged from blocks of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vse_lightning.functional._ranks import ranks_from_counts
from vse_lightning.functional.gains import GAINS, gains_of
from vse_lightning.functional.sorting import ascending
from vse_lightning.functional.top_k import TopK, top_k


@dataclass(frozen=True)
class Ranking:
    """The candidate lists of Q queries, as much of them as the metrics need.

    A part that no metric needs has width 0.

    Attributes:
        num_candidates: ``(Q,)`` int64, the length of the whole list. What a list of K holds beyond it scores minus
            infinity and has no relevance.
        num_positives: ``(Q,)`` int64, of the whole list.
        ahead: ``(Q, P)`` int64: the candidates that are no positives and score at least as high as the query's p-th
            best positive.
        alongside: ``(Q, P)`` int64: the positives that score at least as high, itself included.
        candidates: ``(Q, K)`` int64: the best-scored candidates, ties in candidate order.
        scores: ``(Q, K)`` of ``candidates``, descending.
        relevance: ``(Q, K)`` of ``candidates``.
        overflow: ``(Q, 1 + number of gains)`` of the candidates that tie with the last one listed but found no room:
            their number and the sums of their gains.
        ideal: ``(Q, I)`` the largest relevances, descending.
    """

    num_candidates: Tensor
    num_positives: Tensor
    ahead: Tensor
    alongside: Tensor
    candidates: Tensor
    scores: Tensor
    relevance: Tensor
    overflow: Tensor
    ideal: Tensor

    @classmethod
    def of(
        cls,
        scores: Tensor,
        relevance: Tensor | None = None,
        *,
        listed: int = 0,
        ideal: int = 0,
        candidates: Tensor | None = None,
    ) -> Ranking:
        """Rank whole lists, or a block of candidates.

        Args:
            scores: ``(Q, C)`` without NaN.
            relevance: ``(Q, C)`` in [0, 1], in the dtype of ``scores``; needed for ``listed`` and ``ideal``.
            listed: K, how many of the best-scored candidates to list.
            ideal: I, how many of the largest relevances to keep.
            candidates: ``(C,)`` int64 what the columns are called, ascending; default: their position.

        Returns:
            A ranking without positives.
        """
        num_queries, num_candidates = scores.shape
        none = scores.new_empty(num_queries, 0)
        counts = scores.new_zeros(num_queries, dtype=torch.int64)
        ranking = cls(
            num_candidates=counts + num_candidates,
            num_positives=counts,
            ahead=none.long(),
            alongside=none.long(),
            candidates=none.long(),
            scores=none,
            relevance=none,
            overflow=scores.new_zeros(num_queries, 1 + len(GAINS)),
            ideal=none,
        )
        if relevance is None:
            return ranking
        if listed:
            names = torch.arange(num_candidates, device=scores.device) if candidates is None else candidates
            ranking = ranking._list_best(names.expand(num_queries, -1), scores, relevance, top_k(scores, listed))
        return replace(ranking, ideal=_largest(relevance, ideal)) if ideal else ranking

    @property
    def positive_ranks(self) -> Tensor:
        """Ranks ``(Q, P)`` of the positives as ``functional.ranks`` defines them."""
        return ranks_from_counts(self.ahead, self.num_positives, self.num_candidates)

    @staticmethod
    def merge(rankings: Sequence[Ranking], listed: int, ideal: int) -> Ranking:
        """Rank the candidates of several blocks for the same queries, given what each block kept of them."""
        first = rankings[0]
        if len(rankings) == 1:
            return first
        merged = replace(
            first,
            num_candidates=torch.stack([ranking.num_candidates for ranking in rankings]).sum(dim=0),
            ideal=_largest(torch.cat([ranking.ideal for ranking in rankings], dim=1), ideal),
        )
        if not listed:
            return merged
        candidates, scores, relevance = (
            torch.cat([getattr(ranking, name) for ranking in rankings], dim=1)
            for name in ("candidates", "scores", "relevance")
        )
        merged = merged._list_best(candidates, scores, relevance, top_k(scores, listed, candidates))
        last = merged.scores[:, -1]
        still_tied = [(ranking.scores[:, -1] == last)[:, None] * ranking.overflow for ranking in rankings]
        return replace(merged, overflow=merged.overflow + torch.stack(still_tied).sum(dim=0))

    def select(self, queries: Tensor) -> Ranking:
        """The ranking of some ``queries``, by row number or mask."""
        return Ranking(**{name: column[queries] for name, column in vars(self).items()})

    def _list_best(self, candidates: Tensor, scores: Tensor, relevance: Tensor, selection: TopK) -> Ranking:
        best, cut = selection
        ranking = replace(
            self,
            candidates=candidates.gather(1, best),
            scores=scores.gather(1, best),
            relevance=relevance.gather(1, best),
        )
        overflow = torch.zeros_like(self.overflow)
        if len(cut):
            last = ranking.scores[cut, -1:]
            tied = _totals(relevance[cut], scores[cut] == last)
            overflow[cut] = tied - _totals(ranking.relevance[cut], ranking.scores[cut] == last)
        return replace(ranking, overflow=overflow)


def _totals(relevance: Tensor, members: Tensor) -> Tensor:
    """Number of ``members (Q, C)`` in each row and the sums of their gains: ``(Q, 1 + number of gains)``."""
    gains = [(gains_of(relevance, gain) * members).sum(dim=1) for gain in GAINS]
    return torch.stack([members.sum(dim=1).to(relevance.dtype), *gains], dim=1)


def _largest(relevance: Tensor, k: int) -> Tensor:
    if k < relevance.shape[1]:
        return relevance.topk(k).values
    return ascending(relevance).flip(1)
