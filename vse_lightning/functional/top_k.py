"""The k best candidates of each query, ties in candidate order."""

from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.functional.sorting import ascending_order


class TopK(NamedTuple):
    """The result of :func:`top_k`."""

    indices: Tensor  # (Q, k) columns of the best, descending
    cut: Tensor  # rows in which a candidate was left out that ties with the last one listed


def top_k(scores: Tensor, k: int, candidates: Tensor | None = None) -> TopK:
    """Select each query's k best-scored candidates.

    Unlike :func:`torch.topk`, ties are in candidate order, both in the list and across the cut.

    Args:
        scores: ``(Q, C)`` without NaN.
        k: how many; more than C means all.
        candidates: ``(Q, C)`` what to order ties by; default: the column.

    Example:
        >>> import torch
        >>> top_k(torch.tensor([[0.5, 0.7, 0.5, 0.5]]), k=3)
        TopK(indices=tensor([[1, 0, 2]]), cut=tensor([0]))
    """
    if k >= scores.shape[1]:
        return TopK(_sorted_with_ties(scores, candidates), scores.new_empty(0, dtype=torch.int64))
    best, indices = scores.topk(k + 1)
    cut = (best[:, k - 1] == best[:, k]).nonzero()[:, 0]
    tied = (best[:, 1:] == best[:, :-1]).any(dim=1).nonzero()[:, 0]
    indices = indices[:, :k].contiguous()
    if len(tied):  # rare: the order of torch.topk is right wherever no two scores are equal
        order = None if candidates is None else candidates[tied]
        indices[tied] = _top_k_with_ties(scores[tied], best[tied, k - 1 : k], k, order)
    return TopK(indices, cut)


def _top_k_with_ties(scores: Tensor, last: Tensor, k: int, candidates: Tensor | None) -> Tensor:
    """Columns of the k best, given the score of the ``last (Q, 1)`` of them; linear in C."""
    by_candidate = None if candidates is None else candidates.argsort(dim=1)
    ordered = scores if by_candidate is None else scores.gather(1, by_candidate)
    above, equal = ordered > last, ordered == last
    room = k - above.sum(dim=1, keepdim=True)
    columns = (above | (equal & (equal.cumsum(dim=1) <= room))).nonzero()[:, 1].view(-1, k)
    columns = columns.gather(1, ordered.gather(1, columns).argsort(dim=1, descending=True, stable=True))
    return columns if by_candidate is None else by_candidate.gather(1, columns)


def _sorted_with_ties(scores: Tensor, candidates: Tensor | None) -> Tensor:
    """All columns, best first, ties in candidate order."""
    if candidates is None:
        return ascending_order(-scores)
    by_candidate = candidates.argsort(dim=1)
    return by_candidate.gather(1, ascending_order(-scores.gather(1, by_candidate)))
