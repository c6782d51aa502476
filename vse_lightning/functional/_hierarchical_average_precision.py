"""Hierarchical average precision with exact ranks: average precision for graded relevance."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.sorting import ascending_order, places_of, selected
from vse_lightning.functional.ties import has_equal, last_places

_SHORT = 96  # candidates whose pairs are compared one by one
_ELEMENTS_AT_ONCE = 2**18  # what a round touches stays in the cache


def hierarchical_average_precision(scores: Tensor, relevance: Tensor) -> Tensor:
    r"""Average precision of each query's whole list, where a candidate counts for as much as it is relevant.

    .. math::
        \frac{1}{\sum_k r_k} \sum_k \frac{\eta_k}{\pi_k}, \qquad
        \eta_k = r_k + \sum_{j \ne k,\, s_j \ge s_k} \min(r_j, r_k), \qquad
        \pi_k = 1 + \sum_{j \ne k,\, s_j \ge s_k} 1

    - :math:`s` (``scores``), :math:`r` (``relevance``);
    - :math:`\pi_k`: the rank, counting candidates with equal scores as ahead of each other; :math:`\eta_k`: the H-rank,
      for which another candidate counts as much as the two are relevant together.

    Exact, in O(C log C) time and O(C) memory per query.

    Args:
        scores: ``(Q, C)``, higher is closer.
        relevance: ``(Q, C)`` in [0, 1].

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 1 for a list in the order of relevance, 0 for a query to which
        nothing is relevant.

    Raises:
        ValueError: if the shapes differ or relevance leaves [0, 1].

    References:
        Ramzi et al., "Hierarchical Average Precision Training for Pertinent Image Retrieval", ECCV 2022 (HAPPIER).

    Relations:
        With relevance 0 or 1 equal to :func:`average_precision` and to :func:`sklearn.metrics.average_precision_score`;
        :func:`hierarchical_ap` is the smooth loss.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.0, 1.0, 0.5]])
        >>> hierarchical_average_precision(scores, relevance)  # (1 / 2 + (0.5 + 0.5) / 3) / 1.5
        tensor([0.5556])
    """
    scores = as_scores(scores)
    relevance = as_relevance(relevance, scores)
    return hierarchical_average_precision_of_ranking(Ranking.of(scores, relevance, listed=scores.shape[1]))


def hierarchical_average_precision_of_ranking(ranking: Ranking) -> Tensor:
    """:func:`hierarchical_average_precision` of a ``ranking`` that lists every candidate."""
    size = max(1, _ELEMENTS_AT_ONCE // ranking.scores.shape[1])
    parts = zip(torch.split(ranking.scores, size), torch.split(ranking.relevance, size), strict=True)
    values = [_of_sorted(scores, relevance) for scores, relevance in parts if len(scores)]
    return torch.cat(values).to(ranking.scores.dtype) if values else ranking.scores.new_empty(0)


def _of_sorted(scores: Tensor, relevance: Tensor) -> Tensor:
    # With w = 1 / rank, H-rank over rank is a sum of min(r_j, r_k) min(w_j, w_k) over the pairs of different scores.
    ranks, tied = last_places(scores)
    weights = (1 / ranks.to(relevance.dtype)).expand_as(relevance)
    total = (relevance * weights).sum(dim=1, dtype=torch.float64) + _sum_of_minima(relevance, weights)
    if len(tied):  # candidates of one score are ahead of each other: their pairs count twice
        _add_within_ties(total, relevance, ranks)
    relevant = relevance.sum(dim=1, dtype=torch.float64)
    return (total / relevant).where(relevant > 0, 0)


def _sum_of_minima(relevance: Tensor, weights: Tensor) -> Tensor:
    r"""Sum of min(r_j, r_k) min(w_j, w_k) over all pairs of each row; the weights ``(Q, C)`` never grow along a row.

    Each row is parted into the less and the more relevant half, both in order of the weights. Of a pair of both, the
    less relevant one tells the relevance, and the later one the weight: two cumulative sums. Then the halves are rows.
    """
    num_queries, length = relevance.shape
    halvings = max(0, (-(-length // _SHORT) - 1).bit_length())
    padding = -(-length // 2**halvings) * 2**halvings - length
    relevance, weights = pad(relevance, (0, padding)), pad(weights, (0, padding))
    place = torch.empty_like(relevance, dtype=torch.int32)
    order = ascending_order(relevance)
    place.scatter_(1, order, torch.arange(order.shape[1], dtype=torch.int32, device=order.device).expand_as(order))
    total = relevance.new_zeros(num_queries, dtype=torch.float64)
    while relevance.shape[1] > _SHORT:
        half = relevance.shape[1] // 2
        more = place >= half
        less = ~more
        less_relevance = relevance * less
        before = less_relevance.cumsum(dim=1).mul_(more)
        before.addcmul_(less_relevance, more.cumsum(dim=1, dtype=torch.int32).to(relevance.dtype))
        total += before.mul_(weights).view(num_queries, -1).sum(dim=1, dtype=torch.float64)
        place -= more.int().mul_(half)
        relevance, weights, place = (
            torch.cat([selected(rows, part).view(-1, 1, half) for part in (less, more)], dim=1).view(-1, half)
            for rows in (relevance, weights, place)
        )
    columns = relevance.T.contiguous()
    sums = torch.zeros_like(columns)
    for step in range(1, len(columns)):
        sums[step:] += torch.minimum(columns[step:], columns[:-step])
    return total + (sums.T * weights).sum(dim=1, dtype=torch.float64).view(num_queries, -1).sum(dim=1)


def _add_within_ties(total: Tensor, relevance: Tensor, ranks: Tensor) -> None:
    """Add to each row's total the sum of min(r_j, r_k) / rank over the pairs that share a rank."""
    row, place = places_of(has_equal(ranks))  # few
    shared, rank = relevance[row, place].double(), ranks[row, place]
    by_relevance = shared.argsort()
    order = by_relevance[(row * ranks.shape[1] + rank)[by_relevance].argsort(stable=True)]
    row, rank, shared = row[order], rank[order], shared[order]
    _, run, counts = torch.unique_consecutive(row * ranks.shape[1] + rank, return_inverse=True, return_counts=True)
    more_relevant = counts.cumsum(0)[run] - 1 - torch.arange(len(run), device=run.device)
    total.index_add_(0, row, shared * more_relevant / rank)
