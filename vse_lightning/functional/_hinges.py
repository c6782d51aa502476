"""Sums of hinges over all (positive, negative) pairs of a list, without a table of pairs."""

import torch
from torch import Tensor

from vse_lightning.functional.sorting import ascending_order

# so many positives a query are each compared with all negatives faster than a CPU sorts the list
_FEW = 8


def sum_of_hinges(scores: Tensor, pairs: Tensor, negatives: Tensor, margin: float | Tensor) -> Tensor:
    r"""Sum over each query's positives :math:`p` and negatives :math:`n` of :math:`[s_n + m_n - s_p]_+`.

    The sum is linear in the scores once it is known how many hinges each candidate is active in, and in the list of
    positives and negatives, these raised by their margin, a hinge is active where the negative stands above:
    O(C log C) per query.

    Shape:
        - ``scores``: ``(Q, C)`` float; ``pairs``, the positives that are compared, and ``negatives``: ``(Q, C)`` bool;
          ``margin``: number or ``(Q, C)``, of any sign.
        - Output: ``(Q,)``.
    """
    raised = torch.where(negatives, scores + margin, scores)
    # hinges do not change when all scores shift; shifted, those of a single positive lose no digits
    origin = scores.detach().masked_fill(~pairs, -torch.inf).amax(1, keepdim=True)
    origin = origin.masked_fill(origin == -torch.inf, 0)
    active: Tensor = _activity(raised.detach(), pairs, negatives)
    return (active * (raised - origin)).sum(1)


# one operation, as it looks at the number of positives: torch.compile need not know
@torch.library.custom_op("vse_lightning::hinge_activity", mutates_args=())
def _activity(raised: Tensor, pairs: Tensor, negatives: Tensor) -> Tensor:
    """In how many hinges a candidate is active, as a negative; less those in which it is a positive: ``(Q, C)``."""
    most = int(pairs.sum(1).max()) if raised.device.type == "cpu" and pairs.numel() else _FEW + 1
    if most > _FEW:
        # a positive that ties with a negative counts as above it: a hinge of 0 has no gradient
        order = ascending_order(torch.where(pairs, torch.nextafter(raised, raised.new_full((), torch.inf)), raised))
        positive, negative = pairs.gather(1, order), negatives.gather(1, order)
        beaten = positive.cumsum(1) * negative
        beaten_by = (negative.sum(1, keepdim=True) - negative.cumsum(1)) * positive
        return torch.zeros_like(raised).scatter_(1, order, (beaten - beaten_by).to(raised.dtype))
    active = torch.zeros_like(raised)
    highest, places = raised.masked_fill(~pairs, torch.inf).topk(most, largest=False)
    for positive, place in zip(highest.T, places.T, strict=True):
        beaten = torch.gt(raised, positive[:, None], out=torch.empty_like(raised)).mul_(negatives)
        active.add_(beaten).scatter_add_(1, place[:, None], -beaten.sum(1, keepdim=True))
    return active


@_activity.register_fake
def _shape(raised: Tensor, pairs: Tensor, negatives: Tensor) -> Tensor:
    return torch.empty_like(raised)
