"""InfoNCE over levels of relevance: each level against all below it (RINCE)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

VARIANTS = ("in", "out")


def ranked_contrastive(
    scores: Tensor,
    relevance: Tensor,
    positives: Tensor,
    thresholds: Sequence[float] = (0.63,),
    temperatures: Sequence[float] = (0.05, 0.1),
    variant: str = "in",
) -> tuple[Tensor, Tensor]:
    r"""Ranking InfoNCE: the positives against all others, then each level of relevance against all below it.

    .. math::
        \ell = \frac{1}{|L|} \sum_{l \in L} -\log \frac{\sum_{j \in l} e^{s_j / \tau_l}}
            {\sum_{j \in l} e^{s_j / \tau_l} + \sum_{k \text{ below } l} e^{s_k / \tau_l}}

    - :math:`s` (``scores``);
    - levels :math:`l` (``relevance``, ``thresholds``, falling): the first is the positives, the next all others of
      relevance at least the first threshold, and so on; the rest is below all. :math:`L` are those with members;
    - :math:`\tau_l` (``temperatures``): one per level. The higher levels are left out of a level's sums.

    ``variant="in"``, as above, is content where one member of a level stands out; ``"out"`` asks it of each: the mean
    over its members :math:`j`, each alone against all below:
    :math:`-\log (e^{s_j / \tau_l} / (e^{s_j / \tau_l} + \sum_k e^{s_k / \tau_l}))`.

    Written from the paper's equations. The released code makes the temperature of a level from its relevance and two
    bounds; here it is given.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool.
        - Output: total ``(Q,)`` and count ``(Q,)``: 1, or 0 for a query whose levels are all empty.

    References:
        Hoffmann et al., "Ranking Info Noise Contrastive Estimation: Boosting Contrastive Learning via Ranked
        Positives", AAAI 2022.

    Relations:
        With one positive and no thresholds it is :func:`~vse_lightning.functional.contrastive`; with several, InfoNCE
        with the positives summed inside the logarithm.

    Example:
        >>> import torch
        >>> scores, relevance = torch.zeros(1, 4), torch.tensor([[1.0, 0.7, 0.2, 0.1]])
        >>> ranked_contrastive(scores, relevance, torch.tensor([[True, False, False, False]]))  # (log 4 + log 3) / 2
        (tensor([1.2425]), tensor([1]))
    """
    below, level = ~positives, positives
    totals, filled = [], []
    for number, temperature in enumerate(temperatures):
        if number:
            level = below & (relevance >= thresholds[number - 1])
            below = below & ~level
        members = level.any(1)
        total = (_in if variant == "in" else _out)(scores, level, below, temperature)
        totals.append(torch.where(members, total, 0))
        filled.append(members)
    levels = torch.stack(filled).sum(0)
    return torch.stack(totals).sum(0) / levels.clamp(min=1), (levels > 0).long()


def _in(scores: Tensor, level: Tensor, below: Tensor, temperature: float) -> Tensor:
    exponents = _exponents(scores, level | below, temperature)
    return _log_sum_exp(exponents, level | below) - _log_sum_exp(exponents, level)


def _out(scores: Tensor, level: Tensor, below: Tensor, temperature: float) -> Tensor:
    exponents = _exponents(scores, level | below, temperature)
    lower = torch.where(below.any(1), _log_sum_exp(exponents, below), -torch.inf)
    each = -logsigmoid(exponents - lower[:, None])
    return torch.where(level, each, 0).sum(1) / level.sum(1).clamp(min=1)


def _exponents(scores: Tensor, listed: Tensor, temperature: float) -> Tensor:
    """Scores by temperature, shifted so that a tiny one overflows to minus infinity only; 0 for those not listed."""
    origin = scores.detach().masked_fill(~listed, -torch.inf).amax(1, keepdim=True)
    return torch.where(listed, (scores - torch.where(listed.any(1, keepdim=True), origin, 0)) / temperature, 0)


def _log_sum_exp(exponents: Tensor, listed: Tensor) -> Tensor:
    """Over the listed; over all where nothing is, as a log-sum-exp over nothing has a NaN gradient."""
    ignored = ~listed & listed.any(1, keepdim=True)
    return torch.logsumexp(exponents.masked_fill(ignored, -torch.inf), 1)
