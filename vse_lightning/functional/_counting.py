"""Counting instead of comparing all pairs: how many entries of an interval of a row are smaller than an entry."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def count_smaller_between(ranks: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """For each entry of a row of ranks, how many of the entries ``start`` to ``stop - 1`` of its row are smaller.

    A wavelet matrix (Claude et al., "The Wavelet Matrix", Information Systems 47, 2015): the row is partitioned stably
    by one bit of the rank after the other, and an interval of it stays an interval in every node of equal upper bits.
    Where the entry's bit is 1, all those of its interval whose bit is 0 are smaller; the rest goes on with its node.
    O(C log C) per row, without a (C, C) table.

    Shape:
        - ``ranks``: ``(Q, C)`` int, a permutation of 0 ... C - 1 in each row.
        - ``start``, ``stop``: ``(Q, C)`` int in [0, C], start <= stop.
        - Output: ``(Q, C)`` int32.

    Example:
        >>> import torch
        >>> ranks = torch.tensor([[2, 0, 1, 3]])
        >>> count_smaller_between(ranks, torch.tensor([[1, 0, 0, 2]]), torch.tensor([[4, 2, 2, 4]]))
        tensor([[2, 0, 1, 1]], dtype=torch.int32)
    """
    candidates = ranks.shape[1]
    ranks = ranks.int()
    place = torch.arange(candidates, dtype=torch.int32, device=ranks.device).expand_as(ranks)
    points = torch.stack((place, start.int(), stop.int()), 1)  # where the entry and its interval are by now
    count = torch.zeros_like(ranks)
    for level in reversed(range((candidates - 1).bit_length())):
        bit = (ranks >> level) & 1
        index = points.flatten(1).long()
        zeros = torch.empty_like(ranks).scatter_(1, index[:, :candidates], 1 - bit)
        zeros_before = pad(zeros.cumsum(1, dtype=torch.int32), (1, 0)).gather(1, index).view_as(points)
        count += (zeros_before[:, 2] - zeros_before[:, 1]) * bit
        # the nodes before this one are full, half zeros and half ones; its own ones follow its zeros
        node = (ranks >> (level + 1) << level) + (bit << level)
        points = zeros_before + (points - 2 * zeros_before) * bit[:, None] + node[:, None]
    return count
