"""Hierarchical ranks: soft ranks in which another candidate counts for the relevance that the two share."""

from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.functional.smooth_ranks.sigmoid_sums import SigmoidSums
from vse_lightning.functional.smooth_ranks.soft_ranks import compared, near_zero, slopes_of
from vse_lightning.functional.sorting import ascending_order

# candidates whose pairs are compared one by one (where operations cost more than numbers, more), and pairs at a time
_SHORT_ON_CPU, _SHORT_ELSEWHERE = 64, 512
_PAIRS_ON_CPU, _PAIRS_ELSEWHERE = 2**20, 2**26


def rows_at_once(scores: Tensor) -> int:
    """How many lists to rank at a time."""
    return max(8, (2**17 if scores.device.type == "cpu" else 2**22) // scores.shape[1])


class HierarchicalRanks:
    """H-ranks of some lists, as :func:`functional.hierarchical_ap` has them, and their derivative.

    In a list sorted by relevance, a candidate of the first half and one of the second share the relevance of the first.
    So what the halves do to each other are weighted :class:`SigmoidSums`, and each half is a list of its own, until it
    is so short that its pairs are compared: O(C log C) per query.
    """

    def __init__(self, scores: Tensor, relevance: Tensor, temperature: float) -> None:
        self.candidates, self.temperature = scores.shape[1], temperature
        short = _SHORT_ON_CPU if scores.device.type == "cpu" else _SHORT_ELSEWHERE
        halvings = (-(-self.candidates // short) - 1).bit_length()
        shortest = -(-self.candidates // 2**halvings)
        order = ascending_order(relevance)
        padding = shortest * 2**halvings - self.candidates
        self.order = torch.cat([order, order[:, -1:].expand(-1, padding)], 1)
        scores, self.relevance = scores.gather(1, self.order), relevance.gather(1, self.order)
        ones = torch.ones_like(scores)
        for weights in (self.relevance, ones):
            weights[:, self.candidates :] = 0  # the most relevant again, without weight
        whole = _Lists(scores, self.relevance, ones, temperature)
        self.parts: list[_Pairs | _Halves] = [_Pairs(whole.cut(shortest))]
        self.parts += [_Halves(whole.cut(shortest * 2**halving)) for halving in range(1, halvings + 1)]

    def ranks(self) -> Tensor:
        """``(Q, C)``."""
        ranks = self.relevance.clone()
        for part in self.parts:
            ranks += part.sums().view_as(ranks)
        return self._as_given(ranks)

    def pull_back(self, upstream: Tensor) -> Tensor:
        """Gradient by the scores, from that by the ranks, both ``(Q, C)``."""
        upstream = near_zero(upstream).gather(1, self.order)
        gradient = torch.zeros_like(upstream)
        for part in self.parts:
            gradient += part.pull_back(upstream.view_as(part.relevance)).view_as(gradient)
        return self._as_given(gradient) / self.temperature

    def _as_given(self, by_relevance: Tensor) -> Tensor:
        rows = by_relevance.new_empty(len(by_relevance), self.candidates)
        return rows.scatter_(1, self.order[:, : self.candidates], by_relevance[:, : self.candidates])


class _Lists(NamedTuple):
    """Lists sorted by relevance: scores, relevance and 1 for those that count, each ``(lists, candidates)``."""

    scores: Tensor
    relevance: Tensor
    ones: Tensor
    temperature: float

    def cut(self, length: int) -> "_Lists":
        """Into pieces of a length."""
        scores, relevance, ones = (matrix.view(-1, length) for matrix in (self.scores, self.relevance, self.ones))
        return _Lists(scores, relevance, ones, self.temperature)


class _Halves:
    """What the halves of lists do to each other."""

    def __init__(self, lists: _Lists) -> None:
        self.others, self.relevance = SigmoidSums(lists.scores, lists.temperature), lists.relevance
        self.half = lists.relevance.shape[1] // 2
        self.of_first, self.of_second = lists.relevance.clone(), lists.ones.clone()
        self.of_first[:, self.half :], self.of_second[:, : self.half] = 0, 0

    def sums(self) -> Tensor:
        return self._joined(self.others.sums(self.of_second), self.others.sums(self.of_first))

    def pull_back(self, upstream: Tensor) -> Tensor:
        differences = self.others.differences
        return self._joined(differences(upstream, self.of_second), differences(upstream, self.of_first))

    def _joined(self, by_second: Tensor, by_first: Tensor) -> Tensor:
        return torch.cat([(by_second * self.relevance)[:, : self.half], by_first[:, self.half :]], 1)


class _Pairs:
    """What the candidates of short lists do to each other."""

    def __init__(self, lists: _Lists) -> None:
        self.scores, self.relevance, _, self.temperature = lists

    def sums(self) -> Tensor:
        sums = torch.empty_like(self.scores)
        for rows in self._parts():
            sums[rows] = self._compared(rows).mul_(self._shared(rows)).sum(1)
        return sums.sub_(self.relevance, alpha=0.5)  # sigma(0) = 1/2 of each candidate itself

    def pull_back(self, upstream: Tensor) -> Tensor:
        gradient = torch.empty_like(self.scores)
        for rows in self._parts():
            slopes = slopes_of(self._compared(rows)).mul_(self._shared(rows))
            own = upstream[rows] * slopes.sum(1)
            gradient[rows] = slopes.mul_(upstream[rows, :, None]).sum(1) - own
        return gradient

    def _parts(self) -> list[slice]:
        pairs = _PAIRS_ON_CPU if self.scores.device.type == "cpu" else _PAIRS_ELSEWHERE
        size = max(1, pairs // self.scores.shape[1] ** 2)
        return [slice(start, start + size) for start in range(0, len(self.scores), size)]

    def _compared(self, rows: slice) -> Tensor:
        return compared(self.scores[rows], self.temperature)

    def _shared(self, rows: slice) -> Tensor:
        return torch.minimum(self.relevance[rows, :, None], self.relevance[rows, None, :])
