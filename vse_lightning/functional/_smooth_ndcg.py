"""Smooth NDCG: a differentiable NDCG of the whole list."""

import math
from typing import Literal

import torch
from torch import Tensor

from vse_lightning.checks import require_positive
from vse_lightning.functional.gains import gains_of
from vse_lightning.functional.query_lists import as_constant, as_floats
from vse_lightning.functional.smooth_ranks import bounded_ranks
from vse_lightning.functional.smooth_ranks.soft_ranks import Ranks, rows_at_once, soft_ranks
from vse_lightning.functional.smooth_ranks.value_with_gradient import Gradient, value_with_gradient
from vse_lightning.functional.sorting import ascending


def smooth_ndcg(
    scores: Tensor,
    relevance: Tensor,
    temperature: float = 0.01,
    gain: Literal["exponential", "linear"] = "exponential",
    surrogate: Literal["sigmoid", "bound"] = "sigmoid",
) -> tuple[Tensor, Tensor]:
    r"""Listwise loss 1 - NDCG with smooth ranks, over the whole list.

    .. math::
        \ell = 1 - \frac{1}{Z} \sum_j \frac{g_j}{\log_2(1 + \pi_j)}, \qquad
        \pi_j = 1 + \sum_{k \ne j} \sigma\Big(\frac{s_k - s_j}{\tau}\Big)

    - :math:`s` (``scores``), :math:`\tau` (``temperature``);
    - :math:`g_j`: the gain of the relevance :math:`r_j`, :math:`2^{r_j} - 1` or :math:`r_j` (``gain``);
    - :math:`Z`: the same sum over the list sorted by relevance. (The authors' code lets equally relevant candidates
      share an ideal rank, so that with several positives a perfect list still costs something; here it costs 0.)

    With sigmoids (``surrogate="sigmoid"``) a mistake of many temperatures has no gradient. ``surrogate="bound"`` takes
    SupRank's upper bound of the rank instead, in which those at least as relevant count exactly, without a gradient,
    and the others all the more the further they stand above:

    .. math::
        \pi_j = 1 + \sum_{k \ne j,\ r_k \ge r_j} [s_k \ge s_j] + \sum_{r_k < r_j} f(s_k - s_j), \qquad
        f(d) = \sigma\Big(\frac{\min(d, \delta)}{\tau}\Big) + \frac{[d > 0]}{2} + \rho\, [d - \delta]_+

    - :math:`\delta = 0.05`, :math:`\rho = 100`: the authors' values, for cosines.

    The value and the gradient by the scores are computed together, exact but for rounding, in O(C) memory per query.
    With sigmoids they take O(C log C) time, the logarithm being a sort's; the bound compares all pairs. The gradient is
    kept from the forward pass, so there is no second derivative: asking for one is an error. The relevance is a
    constant.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float, relevance in [0, 1]; half precision is promoted to float32.
        - Output: total ``(Q,)`` in [0, 1] and count ``(Q,)``: 1, or 0 where nothing is relevant.

    Raises:
        ValueError: for a temperature that is not above 0, an unknown gain or surrogate, or shapes that differ.

    References:
        - Li et al., "Integrating Listwise Ranking into Pairwise-based Image-Text Retrieval", 2023 (S-NDCG).
        - Ramzi et al., "Optimization of Rank Losses for Image Retrieval", TPAMI 2025 (SupRank).

    Relations:
        With sigmoids, tends to 1 - :func:`~vse_lightning.functional.ndcg_at_k` over the whole list as the temperature
        tends to 0. As the only loss it costs recall, and from some starts it collapses: a triplet or contrastive term
        beside it finds the match. The bound, at a temperature of 0.05, does nearly without (README, "Results").

    Example:
        >>> import torch
        >>> total, count = smooth_ndcg(torch.tensor([[0.1, 0.9]]), torch.tensor([[1.0, 0.0]]))
        >>> total, count  # the relevant one comes second: 1 - 1 / log2(3)
        (tensor([0.3691]), tensor([1]))
        >>> smooth_ndcg(torch.tensor([[0.1, 0.9]]), torch.tensor([[1.0, 0.0]]), surrogate="bound")[0]  # rank 77.5
        tensor([0.8411])
    """
    require_positive("temperature", temperature)
    scores = as_floats(scores)
    relevance = as_constant(relevance, scores)
    gains = gains_of(relevance, gain)
    if surrogate == "sigmoid":
        ndcg = _ndcg_of_soft_ranks(scores, gains, temperature=temperature)
    else:
        ndcg = _ndcg_of_bounded_ranks(scores, gains, relevance, temperature=temperature)
    relevant = (gains > 0).any(1)
    return relevant.to(scores.dtype) - ndcg, relevant.long()


@value_with_gradient("smooth_ndcg", rows_at_once)
def _ndcg_of_soft_ranks(scores: Tensor, gains: Tensor, *, temperature: float) -> tuple[Tensor, Gradient]:
    return _ndcg(gains, soft_ranks(scores, temperature))


@value_with_gradient("smooth_ndcg_bound", bounded_ranks.rows_at_once)
def _ndcg_of_bounded_ranks(
    scores: Tensor, gains: Tensor, relevance: Tensor, *, temperature: float
) -> tuple[Tensor, Gradient]:
    return _ndcg(gains, bounded_ranks.BoundedRanks(scores, relevance, temperature))


def _ndcg(gains: Tensor, smooth: Ranks) -> tuple[Tensor, Gradient]:
    shares = gains / _ideal_dcg(gains)[:, None]
    next_ranks = smooth.ranks() + 1
    logarithms = next_ranks.log2()

    def gradient() -> Tensor:
        return smooth.pull_back(shares / (logarithms.square() * next_ranks * -math.log(2)))

    return (shares / logarithms).sum(1), gradient


def _ideal_dcg(gains: Tensor) -> Tensor:
    """DCG of the list sorted by gain; 1 where there is none."""
    places = torch.arange(gains.shape[1], 0, -1, device=gains.device, dtype=gains.dtype)
    ideal = (ascending(gains) / torch.log2(1 + places)).sum(1)
    return torch.where(ideal > 0, ideal, 1)
