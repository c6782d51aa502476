"""Bounded ranks: a smooth upper bound of the rank that keeps pulling at large mistakes."""

from collections.abc import Callable

import torch
from torch import Tensor

from vse_lightning.functional.sorting import ascending, ascending_order

# where the bound turns linear, in units of the scores, and how steep it is from there on; the authors' values
_KNEE, _STEEPNESS = 0.05, 100.0
# candidates that are compared with all less relevant ones at a time, and comparisons at a time
_TILE, _PAIRS_ON_CPU, _PAIRS_ELSEWHERE = 64, 2**20, 2**26


def rows_at_once(scores: Tensor) -> int:
    """How many lists to rank at a time."""
    pairs = _PAIRS_ON_CPU if scores.device.type == "cpu" else _PAIRS_ELSEWHERE
    return max(1, pairs // (scores.shape[1] * _TILE))


class BoundedRanks:
    """SupRank's upper bound of the ranks of lists, as :func:`functional.smooth_ndcg` has it, and its derivative.

    Those at least as relevant count exactly and have no gradient. Which comparison takes f depends on scores and
    relevance at once, so they are made one by one, in O(C^2) time; but in tiles of lists sorted by relevance, where
    only the less relevant part is looked at and memory is O(C).
    """

    def __init__(self, scores: Tensor, relevance: Tensor, temperature: float) -> None:
        self.order, self.temperature = ascending_order(relevance), temperature
        self.scores, self.relevance = scores.gather(1, self.order), relevance.gather(1, self.order)

    def ranks(self) -> Tensor:
        """``(Q, C)``, at least 1."""
        candidates = self.scores.shape[1]
        ranks = candidates - torch.searchsorted(ascending(self.scores), self.scores).to(self.scores.dtype)
        for first in range(0, candidates, _TILE):
            above, less_relevant = self._tile(first)
            excess = above.clamp(max=_KNEE).div_(self.temperature).sigmoid_()
            # in place of the 1 that the exact count has for them
            excess.sub_(_number(torch.ge, above, 0)).add_(_number(torch.gt, above, 0), alpha=0.5)
            excess.add_(above.sub_(_KNEE).relu_(), alpha=_STEEPNESS).mul_(less_relevant)
            ranks[:, first : first + _TILE] += excess.sum(1)
        return torch.empty_like(ranks).scatter_(1, self.order, ranks)

    def pull_back(self, upstream: Tensor) -> Tensor:
        """Gradient by the scores, from that by the ranks, both ``(Q, C)``."""
        upstream = upstream.gather(1, self.order)
        gradient = torch.zeros_like(upstream)
        beyond = _STEEPNESS * self.temperature
        for first in range(0, self.scores.shape[1], _TILE):
            above, less_relevant = self._tile(first)
            slopes = above.abs().div_(-self.temperature).sigmoid_()  # below 1/2, so that 1 - slopes loses no digits
            slopes.addcmul_(slopes, slopes, value=-1).mul_(_number(torch.le, above, _KNEE))
            slopes.add_(_number(torch.gt, above, _KNEE), alpha=beyond).mul_(less_relevant)
            tile = slice(first, first + _TILE)
            gradient[:, tile] -= upstream[:, tile] * slopes.sum(1)
            gradient[:, : slopes.shape[1]] += slopes.mul_(upstream[:, None, tile]).sum(2)
        return torch.empty_like(gradient).scatter_(1, self.order, gradient.div_(self.temperature))

    def _tile(self, first: int) -> tuple[Tensor, Tensor]:
        """Of all up to the end of a tile, against the tile: how far above, and 1 where less relevant."""
        end = first + _TILE
        above = self.scores[:, :end, None] - self.scores[:, None, first:end]
        return above, _number(torch.lt, self.relevance[:, :end, None], self.relevance[:, None, first:end], like=above)


def _number(compare: Callable[..., Tensor], left: Tensor, right: Tensor | float, like: Tensor | None = None) -> Tensor:
    """1 where the comparison holds: far cheaper to multiply with than True, on a CPU."""
    return compare(left, right, out=torch.empty_like(left if like is None else like))
