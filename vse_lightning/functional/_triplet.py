"""Hinges between a query's positives and its negatives: all, hardest, soft and selective mining."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from vse_lightning.functional._hinges import sum_of_hinges
from vse_lightning.functional._log_sum_exp import log_sum_exp

Mining: TypeAlias = Literal["all", "hardest", "soft", "selective"]


def triplet(
    scores: Tensor,
    positives: Tensor,
    margin: float | Tensor = 0.2,
    mining: Mining = "hardest",
    temperature: float = 0.01,
    epsilon: float = 0.01,
    average: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Triplet ranking loss: one hinge per (query, positive) pair.

    .. math::
        \ell_p = \operatorname*{reduce}_{n \in N} [s_n - s_p + m]_+

    - :math:`s_p, s_n` (``scores``): the scores of a positive and of a negative; every non-positive is a negative, so
      captions of the query's own image never are;
    - :math:`m` (``margin``): a number, or one per candidate;
    - :math:`\operatorname{reduce}` (``mining``): ``"hardest"``: the maximum (VSE++); ``"all"``: the mean over the
      negatives (VSE0), their sum with ``average=False``; ``"soft"``:
      :math:`[\tau \log \sum_n \exp((s_n - s_p + m) / \tau)]_+` with ``temperature`` :math:`\tau` (our reading of
      Triplet-SN, whose equation we could not read); ``"selective"``: the mean where the hardest negative scores within
      ``epsilon`` of the positive, else the hardest (SelHN).

    Shape:
        - ``scores``: ``(Q, C)`` float, any range; ``positives``: ``(Q, C)`` bool; ``margin``: number or ``(Q, C)``.
        - Output: total ``(Q,)``, the sum over the query's positives, and count ``(Q,)``, their number; both 0 for a
          query without positives or without negatives.

    References:
        - Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018, eq. 5 and 6.
        - Li et al., "Image-Text Retrieval with Binary and Continuous Label Supervision", 2022 (Triplet-SN).
        - Li et al., "Selectively Hard Negative Mining for Alleviating Gradient Vanishing in Image-Text Matching", 2023.

    Relations:
        ``"soft"`` tends to ``"hardest"`` as the temperature tends to 0;
        :func:`~vse_lightning.functional.semantic_margin` is this function with a margin per candidate.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.8, 0.5]])
        >>> triplet(scores, torch.tensor([[True, False, False]]), margin=0.25)
        (tensor([0.1500]), tensor([1]))
    """
    negatives = ~positives
    comparable = positives.any(1) & negatives.any(1)
    pairs = positives & comparable[:, None]
    if mining == "all":
        total = _all_negatives(scores, pairs, negatives, margin, average)
    elif mining == "hardest":
        total = _against(_hardest(scores + margin, negatives), scores, pairs)
    elif mining == "soft":
        total = _against(log_sum_exp(scores + margin, negatives, temperature), scores, pairs)
    else:
        vanishing = (scores - _hardest(scores, negatives).detach()[:, None]).abs() < epsilon
        total = _all_negatives(scores, pairs & vanishing, negatives, margin, average=True)
        total = total + _against(_hardest(scores + margin, negatives), scores, pairs & ~vanishing)
    return total, pairs.sum(1)


def _hardest(scores: Tensor, negatives: Tensor) -> Tensor:
    return scores.masked_fill(~negatives, -torch.inf).amax(1)


def _against(rival: Tensor, scores: Tensor, pairs: Tensor) -> Tensor:
    """Sum over each query's pairs of the hinge between its rival ``(Q,)`` and the positive."""
    hinges = (rival[:, None] - scores).clamp(min=0)
    return torch.where(pairs, hinges, 0).sum(1)


def _all_negatives(scores: Tensor, pairs: Tensor, negatives: Tensor, margin: float | Tensor, average: bool) -> Tensor:
    total = sum_of_hinges(scores, pairs, negatives, margin)
    return total / negatives.sum(1).clamp(min=1) if average else total
