"""Kendall ranking loss: hinges on the pairs that scores order against their relevance."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def kendall(
    scores: Tensor, relevance: Tensor, min_gap: float = 0.3, window: int | None = None, stride: int = 1
) -> tuple[Tensor, Tensor]:
    r"""Hinge on every pair of candidates whose relevance differs by more than a gap and whose scores disagree.

    .. math::
        \ell = \sum_{(j, k):\ r_j - r_k > g} [s_k - s_j]_+

    - :math:`s` (``scores``), :math:`r` (``relevance``), :math:`g` (``min_gap``), strict, computed in the dtype of the
      relevance: pairs closer than that are left to the noise of the labels.

    With ``window=w`` (sliding window and hard sample mining, SW-HS) the candidates are sorted by relevance, ties by
    score, both descending; windows of ``w`` start at 0, ``stride``, 2 ``stride``, ... and each is compared with the
    next disjoint one: [max of the lower - min of the upper]+. Where the smallest relevance of the upper window exceeds
    the largest of the lower by no more than the gap, the comparison is skipped. Lists shorter than 2 ``w`` use
    ``w = C // 2``. The paper's equation could not be read: the sorting key, the pairing of the windows and the use of
    the gap are our reading of its abstract.

    The hinges need no (C, C) table: their sum is linear in the scores once it is known in how many of them a candidate
    is active, and that is counted in O(C log C) per query.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float.
        - Output: total ``(Q,)`` and count ``(Q,)``: the ordered pairs (concordant ones included), or the pairs of
          windows kept.

    References:
        - Li et al., "Image-Text Retrieval with Binary and Continuous Label Supervision", 2022 (Kendall loss, SW-HS).
        - The pairs with a gap are those of the same group's ITM_CLS code, whose text-to-image half reuses the mask of
          image-to-text; here each direction has its own.

    Relations:
        Zero exactly where no pair is discordant, as Kendall's tau is then 1.

    Example:
        >>> import torch
        >>> kendall(torch.tensor([[0.2, 0.5, 0.1]]), torch.tensor([[1.0, 0.6, 0.0]]))  # one of three pairs disagrees
        (tensor([0.3000]), tensor([3]))
    """
    if window is not None:
        return _windows(scores, relevance, min_gap, max(1, min(window, scores.shape[1] // 2)), stride)
    activity, pairs = _activity(scores.detach(), relevance.detach(), min_gap)
    origin = scores.detach().mean(1, keepdim=True)  # the activities of a row sum to 0: a shift only keeps digits
    return (activity * (scores - origin)).sum(1), pairs


# one operation, opaque to torch.compile, which would spend minutes on the loops
@torch.library.custom_op("vse_lightning::kendall_activity", mutates_args=())
def _activity(scores: Tensor, relevance: Tensor, min_gap: float) -> tuple[Tensor, Tensor]:
    """In how many more hinges an entry counts up than down ``(Q, C)``, and the pairs of each query ``(Q,)``."""
    ascending, order = relevance.sort(dim=1)
    # less relevant than an entry by more than the gap are the first `lower`, more relevant those from `upper` on
    lower = _count_lower(ascending, min_gap)
    upper = scores.shape[1] - _count_lower(-ascending.flip(1), min_gap).flip(1)
    # rank by score, ties by relevance: on either side of an entry an equal score is not in discord with it
    by_score = scores.gather(1, order).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, by_score, places)
    # an entry is active against each upper one that scores less and each lower one that scores more; the first are
    # its rank less the smaller ones before `upper`, the second `lower` less the smaller ones before `lower`
    active = ranks - lower - count_smaller_between(ranks, lower, upper)
    return torch.zeros_like(scores).scatter_(1, order, active.to(scores.dtype)), lower.sum(1)


@_activity.register_fake
def _shapes(scores: Tensor, relevance: Tensor, min_gap: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(scores), scores.new_empty(len(scores), dtype=torch.long)


def _count_lower(ascending: Tensor, min_gap: float) -> Tensor:
    """For each entry of ascending rows, how many entries it exceeds by more than the gap.

    A bisection with the very comparison of the definition: adding the gap to one side would round differently.
    """
    candidates = ascending.shape[1]
    step = 1 << (candidates - 1).bit_length()
    padded = pad(ascending, (0, 2 * step - candidates), value=torch.inf)
    lower = torch.zeros(ascending.shape, dtype=torch.long, device=ascending.device)
    while step:
        exceeded = ascending - padded.gather(1, lower + (step - 1)) > min_gap
        lower += exceeded * step
        step //= 2
    return lower


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


def _windows(scores: Tensor, relevance: Tensor, min_gap: float, window: int, stride: int) -> tuple[Tensor, Tensor]:
    candidates = scores.shape[1]
    if candidates < 2:
        return scores.sum(1) * 0, torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    order = scores.argsort(dim=1, descending=True)
    order = order.gather(1, relevance.gather(1, order).argsort(dim=1, descending=True, stable=True))
    scores, relevance = scores.gather(1, order), relevance.gather(1, order)
    starts = slice(0, candidates - 2 * window + 1, stride)
    lowest_of_upper = -_sliding_maximum(-scores, window)[:, starts]
    highest_of_lower = _sliding_maximum(scores, window)[:, window:][:, starts]
    kept = relevance[:, window - 1 :][:, starts] - relevance[:, window:][:, starts] > min_gap
    hinges = (highest_of_lower - lowest_of_upper).clamp(min=0)
    return torch.where(kept, hinges, 0).sum(1), kept.sum(1)


def _sliding_maximum(values: Tensor, window: int) -> Tensor:
    """Maximum of each window of the row, in log2(window) steps: two overlapping windows make a longer one."""
    span = 1
    while span < window:
        step = min(span, window - span)
        values = torch.maximum(values[:, :-step], values[:, step:])
        span += step
    return values
