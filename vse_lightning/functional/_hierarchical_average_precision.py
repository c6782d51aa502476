"""Hierarchical average precision with exact ranks: average precision for graded relevance."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.sorting import ascending, ascending_order, places_of
from vse_lightning.functional.ties import has_equal, last_places

_SMALLEST_BLOCK = 32  # candidates
_ELEMENTS_AT_ONCE = 2**17  # what a round touches stays in the cache


def hierarchical_average_precision(scores: Tensor, relevance: Tensor) -> Tensor:
    r"""Average precision of each query's whole list, where a candidate counts for as much as it is relevant.

    .. math::
        \frac{1}{\sum_k r_k} \sum_k \frac{\eta_k}{\pi_k}, \qquad
        \eta_k = r_k + \sum_{j \ne k,\, s_j \ge s_k} \min(r_j, r_k), \qquad
        \pi_k = 1 + \sum_{j \ne k,\, s_j \ge s_k} 1

    - :math:`s` (``scores``), :math:`r` (``relevance``);
    - :math:`\pi_k`: the rank, counting candidates with equal scores as ahead of each other; :math:`\eta_k`: the H-rank,
      for which another candidate counts as much as the two are relevant together.

    Exact, in O(C) memory per query and the time of a few sorts of its list; beside them, every candidate is compared
    with about the root of C others.

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
    return (total / relevant).clamp(max=1).where(relevant > 0, 0)  # weights are rounded


def _sum_of_minima(relevance: Tensor, weights: Tensor) -> Tensor:
    r"""Sum of min(r_j, r_k) min(w_j, w_k) over all pairs of each row; the weights ``(Q, C)`` never grow along a row.

    A row is cut into blocks as it stands, and into groups of the same size by relevance. Pairs of one block or group
    are compared one by one. Of all others, the one of the lower group tells the relevance and the one of the later
    block the weight: sums over a table of groups and blocks.
    """
    num_queries, length = relevance.shape
    size = max(_SMALLEST_BLOCK, math.isqrt(length))
    count = -(-length // size)
    relevance, weights = (pad(rows, (0, count * size - length)) for rows in (relevance, weights))
    total = _one_by_one(relevance.view(-1, size), weights.view(-1, size))
    if count > 1:
        columns = _groups_by_relevance(relevance, size)
        blocks = (columns // size).view(num_queries, count, size)
        relevance, weights = (rows.gather(1, columns).view(blocks.shape) for rows in (relevance, weights))
        total += _one_by_one(*(rows.view(-1, size) for rows in (relevance, weights, blocks)))
        return total.view(num_queries, -1).sum(dim=1) + _across(relevance, weights, blocks)
    return total


def _groups_by_relevance(relevance: Tensor, size: int) -> Tensor:
    """The columns ``(Q, C)`` of rows of whole blocks: the least relevant ``size`` first, ascending in each group."""
    num_queries, length = relevance.shape
    # One of each block after another: members of equal relevance then come from as many blocks as there are.
    spread = torch.arange(length, dtype=torch.int32, device=relevance.device).view(-1, size).T.reshape(-1)
    order = ascending_order(relevance.view(num_queries, -1, size).transpose(1, 2).reshape(num_queries, length))
    return ascending(spread.take(order).view(-1, size)).view(num_queries, length).long()


def _one_by_one(relevance: Tensor, weights: Tensor, blocks: Tensor | None = None) -> Tensor:
    """The sum of minima of each row ``(R, S)``, but for pairs of one of the ``blocks``, which never fall: ``(R,)``."""
    library: Any = np if relevance.device.type == "cpu" else torch  # NumPy takes two thirds of the time
    columns = library.asarray(relevance.T.contiguous())
    apart = None if blocks is None else library.asarray(blocks.int().T.contiguous())
    least, sums = library.empty_like(columns), library.zeros_like(columns)
    for step in range(1, relevance.shape[1]):
        library.minimum(columns[step:], columns[:-step], out=least[step:])
        if apart is not None:
            different = apart[step:] != apart[:-step]
            least[step:] *= different
            apart = None if different.all() else apart
        sums[step:] += least[step:]
    return (torch.as_tensor(sums).T * weights).sum(dim=1, dtype=torch.float64)


def _across(relevance: Tensor, weights: Tensor, blocks: Tensor) -> Tensor:
    """The sum of minima ``(Q,)`` over the pairs of different groups and different ``blocks``, all ``(Q, G, S)``."""
    num_queries, count, _ = blocks.shape
    steps = torch.arange(count, device=blocks.device)
    tables = torch.arange(num_queries, device=blocks.device)[:, None, None] * count**2
    by_block, by_group = tables + steps[:, None] * count + blocks, tables + blocks * count + steps[:, None]

    def table(cells: Tensor, values: Tensor) -> Tensor:
        sums = values.new_zeros(num_queries * count**2).scatter_add_(0, cells.flatten(), values.flatten())
        return sums.view(num_queries, count, count)

    # groups x blocks, and blocks x groups
    number, of_relevance = (_before(table(by_block, of)) for of in (torch.ones_like(weights), relevance))
    of_weights, of_both = (table(by_group, of) for of in (weights, relevance * weights))
    in_higher_groups = of_weights.cumsum(dim=2, dtype=torch.float64)
    in_higher_groups.neg_().add_(of_weights.sum(dim=2, keepdim=True))
    pairs = _before(of_both).mul_(number.transpose(1, 2)).addcmul_(of_relevance.transpose(1, 2), in_higher_groups)
    return pairs.sum(dim=(1, 2))


def _before(table: Tensor) -> Tensor:
    """What stands before each entry of the rows ``(..., C)``, summed in float64."""
    return table.cumsum(dim=-1, dtype=torch.float64).sub_(table)


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
