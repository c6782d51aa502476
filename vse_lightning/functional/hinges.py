"""Sums of hinges over all (positive, negative) pairs of a list, without a table of pairs."""

import torch
from torch import Tensor


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
    with torch.no_grad():
        order = raised.argsort(dim=1, stable=True)
        positive, negative = pairs.gather(1, order), negatives.gather(1, order)
        beaten = positive.cumsum(1) * negative
        beaten_by = (negative.sum(1, keepdim=True) - negative.cumsum(1)) * positive
        active = torch.zeros_like(scores).scatter_(1, order, (beaten - beaten_by).to(scores.dtype))
        # hinges do not change when all scores shift; shifted, those of a single positive lose no digits
        origin = scores.masked_fill(~pairs, -torch.inf).amax(1, keepdim=True)
        origin = torch.where(origin.isfinite(), origin, 0)
    return (active * (raised - origin)).sum(1)
