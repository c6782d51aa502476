"""Ladder loss: a chain of inequalities between neighbourhoods of falling relevance."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vse_lightning.functional._triplet import Mining, triplet


def ladder(
    scores: Tensor,
    relevance: Tensor,
    positives: Tensor,
    margins: Sequence[float] = (0.2, 0.01),
    thresholds: Sequence[float] = (0.63,),
    weights: Sequence[float] = (0.25,),
    threshold_mode: Literal["absolute", "percentile"] = "absolute",
    cumulative: bool = False,
    mining: Mining = "hardest",
    average: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Ladder loss with hard contrastive sampling: one ladder per (query, positive) pair.

    .. math::
        \ell_p = [\alpha_1 - s_p + \max_{n \in N} s_n]_+
                 + \sum_{l > 1} \beta_l [\alpha_l - \min_{r_j \ge \theta_l} s_j + \max_{r_k < \theta_l} s_k]_+

    - :math:`\alpha_1, \alpha_2, \dots` (``margins``), :math:`\theta_2, \dots` (``thresholds``, falling),
      :math:`\beta_2, \dots` (``weights``);
    - :math:`s` (``scores``), :math:`r` (``relevance``, 1 at the positives, which therefore stand above every
      threshold), :math:`N`: the non-positives.

    A rung with nobody on one side costs nothing. ``threshold_mode="percentile"`` reads the thresholds as percentiles
    (0-100, linear interpolation) of the query's relevance row. ``cumulative=True`` compares the most similar of the
    rest with the positive itself, with margin :math:`\alpha_1 + \dots + \alpha_l`. The released code masks with 0, so
    its most similar of the rest never scores below 0; here the mask is minus infinity. ``mining`` and
    ``average`` are those of the first rung, the :func:`~vse_lightning.functional.triplet`.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool.
        - Output: total ``(Q,)`` and count ``(Q,)``, the number of the query's positives (0 without negatives): as in
          the paper's sum over (query, ground truth) pairs, several positives weigh all rungs alike.

    References:
        Zhou et al., "Ladder Loss for Coherent Visual-Semantic Embedding", AAAI 2020, eq. 6, 7 and hard contrastive
        sampling; ``cumulative`` from the authors' code.

    Relations:
        Without thresholds, or with zero weights, it is the hardest-negative
        :func:`~vse_lightning.functional.triplet`.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[0.9, 0.3, 0.5]]), torch.tensor([[1.0, 0.7, 0.1]])
        >>> ladder(scores, relevance, torch.tensor([[True, False, False]]))  # 0.25 * (0.01 - 0.3 + 0.5)
        (tensor([0.0525]), tensor([1]))
    """
    total, count = triplet(scores, positives, margins[0], mining, average=average)
    if not thresholds:
        return total, count
    above = relevance[:, None] >= _row_thresholds(relevance, thresholds, threshold_mode)[:, :, None]
    rungs, margin = scores[:, None], _vector(margins, scores)
    below = rungs.masked_fill(above, -torch.inf).amax(2)
    if cumulative:
        hinges = (margin.cumsum(0)[1:, None] - rungs + below[:, :, None]).clamp(min=0)
        hinges = torch.where(positives[:, None], hinges, 0).sum(2)
    else:
        lowest = rungs.masked_fill(~above, torch.inf).amin(2)
        hinges = (margin[1:] - lowest + below).clamp(min=0) * count[:, None]
    return total + (hinges * _vector(weights, scores)).sum(1), count


def _row_thresholds(relevance: Tensor, thresholds: Sequence[float], mode: str) -> Tensor:
    """Thresholds of each query ``(Q, L)``; torch.quantile refuses more than 16 million entries."""
    if mode == "absolute":
        return _vector(thresholds, relevance).expand(len(relevance), -1)
    ordered = relevance.sort(1).values
    last = relevance.shape[1] - 1
    levels = []
    for percentile in thresholds:
        position = percentile * last / 100  # in this order: a percentile that is an entry must not land beside it
        entry = math.floor(position)
        levels.append(torch.lerp(ordered[:, entry], ordered[:, math.ceil(position)], position - entry))
    return torch.stack(levels, 1)


def _vector(values: Sequence[float], like: Tensor) -> Tensor:
    """Values as a tensor, written on the device: copying a list to a GPU would wait for it."""
    return torch.stack([like.new_full((), value) for value in values])
