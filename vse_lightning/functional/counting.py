"""Counting instead of comparing all pairs: how many entries of a prefix are smaller than a value."""

import torch
from torch import Tensor


def dense_ranks(values: Tensor) -> Tensor:
    """Rank of each entry among the distinct values of its row, from 0; equal entries share a rank.

    Shape:
        - ``values``: ``(Q, C)``. Output: ``(Q, C)`` int64.

    Example:
        >>> import torch
        >>> dense_ranks(torch.tensor([[0.5, 0.1, 0.5, 0.9]]))
        tensor([[1, 0, 1, 2]])
    """
    ordered, order = values.sort(1)
    steps = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return torch.zeros_like(order).scatter_(1, order[:, 1:], steps)


def count_smaller_in_prefix(ranks: Tensor, prefix: Tensor, bounds: Tensor) -> Tensor:
    """How many of the first ``prefix`` entries of a row are smaller than a bound, for many prefixes and bounds.

    A wavelet matrix (Claude et al., "The Wavelet Matrix", Information Systems 47, 2015): log2(C) stable partitions of
    the row by one bit each; a prefix stays one interval in each of them. O(C log C) per row and no (C, C) table.

    Shape:
        - ``ranks``: ``(Q, C)`` int64 in [0, C); ``prefix``: ``(Q, P)`` int64 in [0, C]; ``bounds``: ``(Q, P)`` int64 in
          [0, C). Output: ``(Q, P)`` int64.

    Example:
        >>> import torch
        >>> ranks = torch.tensor([[2, 0, 1, 3]])
        >>> count_smaller_in_prefix(ranks, torch.tensor([[1, 3, 4]]), torch.tensor([[3, 2, 2]]))
        tensor([[1, 2, 2]])
    """
    length = ranks.shape[1]
    here = torch.arange(length, device=ranks.device)
    start, stop, count = torch.zeros_like(prefix), prefix, torch.zeros_like(prefix)
    for bit in reversed(range(max(length - 1, 1).bit_length())):
        ones = (ranks >> bit) & 1
        zeros_before = torch.nn.functional.pad((1 - ones).cumsum(1), (1, 0))
        zeros = zeros_before[:, -1:]
        zeros_to_start, zeros_to_stop = zeros_before.gather(1, start), zeros_before.gather(1, stop)
        larger = ((bounds >> bit) & 1).bool()
        count = torch.where(larger, count + zeros_to_stop - zeros_to_start, count)
        start = torch.where(larger, zeros + start - zeros_to_start, zeros_to_start)
        stop = torch.where(larger, zeros + stop - zeros_to_stop, zeros_to_stop)
        place = torch.where(ones.bool(), zeros + here - zeros_before[:, :-1], zeros_before[:, :-1])
        ranks = torch.empty_like(ranks).scatter_(1, place, ranks)
    return count
