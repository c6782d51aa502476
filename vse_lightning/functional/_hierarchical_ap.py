"""Hierarchical average precision: smooth average precision for graded relevance."""

import torch
from torch import Tensor

from vse_lightning.checks import require_positive
from vse_lightning.functional.query_lists import as_constant, as_floats
from vse_lightning.functional.smooth_ranks.hierarchical_ranks import HierarchicalRanks, rows_at_once
from vse_lightning.functional.smooth_ranks.soft_ranks import soft_ranks
from vse_lightning.functional.smooth_ranks.value_with_gradient import Gradient, value_with_gradient


def hierarchical_ap(scores: Tensor, relevance: Tensor, temperature: float = 0.01) -> tuple[Tensor, Tensor]:
    r"""Listwise loss 1 - H-AP with sigmoid ranks, over the whole list.

    .. math::
        \ell = 1 - \frac{1}{\sum_k r_k} \sum_k \frac{\eta_k}{\pi_k}, \qquad
        \eta_k = r_k + \sum_{j \ne k} \min(r_j, r_k)\, \sigma\Big(\frac{s_j - s_k}{\tau}\Big), \qquad
        \pi_k = 1 + \sum_{j \ne k} \sigma\Big(\frac{s_j - s_k}{\tau}\Big)

    - :math:`s` (``scores``), :math:`r` (``relevance``), :math:`\tau` (``temperature``);
    - :math:`\pi_k`: the rank; :math:`\eta_k`: the H-rank, for which another candidate counts as much as the two are
      relevant together.

    The value and the gradient by the scores are computed together, exact but for rounding, in O(C log C) time and O(C)
    memory per query. The gradient is kept from the forward pass, so there is no second derivative: asking for one is an
    error. The relevance is a constant.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float, relevance in [0, 1]; half precision is promoted to float32.
        - Output: total ``(Q,)`` in [0, 1] and count ``(Q,)``: 1, or 0 where nothing is relevant.

    Raises:
        ValueError: for a temperature that is not above 0, or shapes that differ.

    References:
        Ramzi et al., "Hierarchical Average Precision Training for Pertinent Image Retrieval", ECCV 2022 (HAPPIER),
        whose code bounds both step functions from above and below, piecewise, and adds a clustering term; here both are
        sigmoids.

    Relations:
        With relevance 0 or 1 this is 1 - smooth average precision (Brown et al., "Smooth-AP", ECCV 2020), which tends
        to average precision as the temperature tends to 0. :func:`~vse_lightning.functional.smooth_ndcg` discounts by
        the rank alone.

    Example:
        >>> import torch
        >>> total, count = hierarchical_ap(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.0, 1.0, 0.5]]))
        >>> total, count  # 1 - (1 / 2 + (0.5 + 0.5) / 3) / 1.5
        (tensor([0.4444]), tensor([1]))
    """
    require_positive("temperature", temperature)
    scores = as_floats(scores)
    relevance = as_constant(relevance, scores)
    precision = _hierarchical_ap(scores, relevance, temperature=temperature)
    relevant = (relevance > 0).any(1)
    return relevant.to(scores.dtype) - precision, relevant.long()


@value_with_gradient("hierarchical_ap", rows_at_once)
def _hierarchical_ap(scores: Tensor, relevance: Tensor, *, temperature: float) -> tuple[Tensor, Gradient]:
    total = relevance.sum(1, keepdim=True)
    soft, hierarchical = soft_ranks(scores, temperature), HierarchicalRanks(scores, relevance, temperature)
    ranks = soft.ranks()
    shares = 1 / (ranks * torch.where(total > 0, total, 1))
    precision = hierarchical.ranks() * shares

    def gradient() -> Tensor:
        return hierarchical.pull_back(shares) - soft.pull_back(precision / ranks)

    return precision.sum(1), gradient
