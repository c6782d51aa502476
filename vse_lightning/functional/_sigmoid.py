"""One yes-or-no question per pair (SigLIP), with graded answers on request."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def sigmoid(
    scores: Tensor,
    positives: Tensor,
    relevance: Tensor | None = None,
    scale: float | Tensor = 10.0,
    bias: float | Tensor = -10.0,
    relevance_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""Binary cross-entropy of every candidate, summed over the list.

    .. math::
        \ell = -\sum_j t_j \log \sigma(z_j) + (1 - t_j) \log \sigma(-z_j), \qquad
        z = c\, s + b, \quad t = (1 - w)\, p + w\, r

    - :math:`s` (``scores``), :math:`c` (``scale``): the inverse of the temperature, :math:`b` (``bias``): far below 0
      to start with, as nearly all pairs are no match;
    - :math:`p` (``positives``), :math:`r` (``relevance``), :math:`w` (``relevance_weight``).

    Candidates do not compete: a list is a sum of independent questions. The released code sums over the pairs of a
    batch once and divides by its size, which with as many images as texts is what the mean of both directions gives.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool; ``scale``, ``bias``: numbers or
          scalars.
        - Output: total ``(Q,)`` and count ``(Q,)``, 1.

    References:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023.

    Relations:
        With ``relevance_weight=1`` and relevance 1 at the positives and 0 elsewhere it is that with weight 0.

    Example:
        >>> import torch
        >>> sigmoid(torch.zeros(1, 4), torch.tensor([[True, False, False, False]]), bias=0.0)  # 4 log 2
        (tensor([2.7726]), tensor([1]))
    """
    target = positives.to(scores.dtype)
    if relevance is not None and relevance_weight > 0:
        target = torch.lerp(target, relevance, relevance_weight)
    total = binary_cross_entropy_with_logits(scores * scale + bias, target, reduction="none").sum(1)
    return total, torch.ones(len(scores), dtype=torch.long, device=scores.device)
