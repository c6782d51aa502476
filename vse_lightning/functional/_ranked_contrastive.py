"""InfoNCE over levels of relevance: each level against all below it (RINCE)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vse_lightning.functional._log_sum_exp import log_sum_exp


def ranked_contrastive(
    scores: Tensor,
    relevance: Tensor,
    positives: Tensor,
    thresholds: Sequence[float] = (0.63,),
    temperatures: Sequence[float] = (0.05, 0.1),
    variant: Literal["in", "out"] = "in",
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
    scores = scores - scores.detach().amax(1, keepdim=True)  # a shift only keeps digits
    below, level = ~positives, positives
    totals, filled = [], []
    for number, temperature in enumerate(temperatures):
        if number:
            level = below & (relevance >= thresholds[number - 1])
            below = below & ~level
        members = level.sum(1) > 0
        total = (_in if variant == "in" else _out)(scores, level, below, temperature)
        totals.append(torch.where(members, total, 0))
        filled.append(members)
    levels = torch.stack(filled).sum(0)
    return torch.stack(totals).sum(0) / levels.clamp(min=1), (levels > 0).long()


def _in(scores: Tensor, level: Tensor, below: Tensor, temperature: float) -> Tensor:
    together = log_sum_exp(scores, level | below, temperature)
    return (together - log_sum_exp(scores, level, temperature)) / temperature


def _out(scores: Tensor, level: Tensor, below: Tensor, temperature: float) -> Tensor:
    lower = torch.where(below.sum(1) > 0, log_sum_exp(scores, below, temperature), -torch.inf)
    each = -logsigmoid((scores - lower[:, None]) / temperature)
    return torch.where(level, each, 0).sum(1) / level.sum(1).clamp(min=1)
