"""Soft ranks: how many candidates stand above one, with a sigmoid for "above"."""

from typing import Protocol

import torch
from torch import Tensor

from vse_lightning.functional.smooth_ranks.sigmoid_sums import SigmoidSums

# so many temperatures apart nothing changes any more, but numbers are not yet so small that a CPU stumbles over them
_SATURATED = 80
# the longest lists of which comparing all pairs is faster; where operations cost more than numbers, much longer ones
_SHORT_ON_CPU, _SHORT_ELSEWHERE = 64, 512


class Ranks(Protocol):
    """Ranks of the candidates of some lists, a function of their scores, and its derivative."""

    def ranks(self) -> Tensor:
        """``(Q, C)``, from 1 for the best on."""

    def pull_back(self, upstream: Tensor) -> Tensor:
        """Gradient by the scores, from one by the ranks, both ``(Q, C)``; to be asked for last, and once."""


def soft_ranks(scores: Tensor, temperature: float) -> Ranks:
    """Ranks with sigmoids, as :func:`functional.smooth_ndcg` has them, and their derivative, linear in the list.

    Example:
        >>> import torch
        >>> soft_ranks(torch.tensor([[0.1, 0.9, 0.9]]), 0.01).ranks()
        tensor([[3.0000, 1.5000, 1.5000]])
    """
    return (_ComparedRanks if _are_short(scores) else _SortedRanks)(scores, temperature)


def rows_at_once(scores: Tensor) -> int:
    """How many lists to rank at a time: so many that they stay in the cache of a CPU, or keep a GPU busy."""
    candidates, on_cpu = scores.shape[1], scores.device.type == "cpu"
    if _are_short(scores):
        return max(1, (2**20 if on_cpu else 2**26) // candidates**2)
    return max(8, (2**18 if on_cpu else 2**24) // candidates)


def compared(scores: Tensor, temperature: float) -> Tensor:
    r"""The sigmoids :math:`\sigma((s_i - s_j) / \tau)` of lists ``(Q, C)``: ``(Q, C, C)``."""
    distances = torch.sub(scores[:, :, None], scores[:, None, :]).div_(temperature)
    return distances.clamp_(-_SATURATED, _SATURATED).sigmoid_()


def slopes_of(above: Tensor) -> Tensor:
    """The slopes ``(Q, C, C)`` of sigmoids, of oneself 0."""
    slopes = above * above.mT  # 1 - above would lose the digits of what is far below
    slopes.diagonal(dim1=1, dim2=2).zero_()  # or the small ones next to it would lose theirs
    return slopes


def near_zero(upstream: Tensor) -> Tensor:
    """Shifted towards 0: as the ranks of a list add up to a constant, the same to a gradient, with less to round."""
    lowest, highest = upstream.aminmax(dim=1, keepdim=True)
    return upstream - (lowest.clamp(min=0) + highest.clamp(max=0))


def _are_short(scores: Tensor) -> bool:
    return scores.shape[1] <= (_SHORT_ON_CPU if scores.device.type == "cpu" else _SHORT_ELSEWHERE)


class _SortedRanks:
    def __init__(self, scores: Tensor, temperature: float) -> None:
        self.others, self.temperature = SigmoidSums(scores, temperature), temperature

    def ranks(self) -> Tensor:
        return self.others.sums().add_(1)

    def pull_back(self, upstream: Tensor) -> Tensor:
        return self.others.differences(near_zero(upstream)).div_(self.temperature)


class _ComparedRanks:
    def __init__(self, scores: Tensor, temperature: float) -> None:
        self.above, self.temperature = compared(scores, temperature), temperature

    def ranks(self) -> Tensor:
        return self.above.sum(1).add_(0.5)  # of the 1, sigma(0) = 1/2 of the candidate itself is in the sum

    def pull_back(self, upstream: Tensor) -> Tensor:
        slopes, upstream = slopes_of(self.above), near_zero(upstream)
        own = upstream * slopes.sum(1)
        return slopes.mul_(upstream[:, :, None]).sum(1).sub_(own).div_(self.temperature)
