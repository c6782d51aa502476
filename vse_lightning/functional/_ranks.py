"""Ranks of the positives of a query: counts of candidates that score at least as high, hence no sort."""

import torch
from torch import Tensor

from vse_lightning.functional.query_lists import as_positives, as_scores
from vse_lightning.functional.sorting import ascending, places_of

_FEW_BARS = 16  # up to so many bars, counting costs less than sorting


def ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """Rank of each query's best-scored positive.

    1 + the number of candidates that are no positives and score at least as high as the best positive: a tie never
    helps, and other positives never hurt.

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.

    Returns:
        ``(Q,)`` int64 from 1 to C; C + 1 for a query without a positive.

    Raises:
        ValueError: if the shapes differ or ``positives`` is no mask.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.2, 0.2, 0.1]])
        >>> ranks(scores, torch.tensor([[False, True, True], [True, False, False]]))
        tensor([2, 2])
    """
    return _ranks(scores, positives, limit=1)[:, 0]


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """As :func:`ranks`, of all positives of each query, the best-scored first.

    The p-th of them ranks p + the number of candidates that are no positives and score at least as high.

    Returns:
        ``(Q, P)`` int64, ascending, where P is the largest number of positives of a query (at least 1); C + 1 where a
        query has fewer.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.2, 0.2, 0.1]])
        >>> positive_ranks(scores, torch.tensor([[False, True, True], [True, False, False]]))
        tensor([[2, 3],
                [2, 4]])
    """
    return _ranks(scores, positives)


def _ranks(scores: Tensor, positives: Tensor, limit: int | None = None) -> Tensor:
    scores = as_scores(scores)
    positives = as_positives(positives, scores)
    ahead, _ = count_ahead(scores, columns_of(positives), limit)
    return ranks_from_counts(ahead, positives.sum(dim=1), scores.shape[1])


def columns_of(positives: Tensor) -> Tensor:
    """Columns ``(Q, P)`` of the positives that a mask ``(Q, C)`` marks; -1 where a query has fewer than P."""
    counts = positives.sum(dim=1)
    query, column = places_of(positives)
    slot = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    columns = column.new_full((len(counts), max(1, int(counts.max())) if len(counts) else 1), -1)
    columns[query, slot] = column
    return columns


def count_ahead(scores: Tensor, positives: Tensor, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """What scores at least as high as each positive: the number of other candidates, and of positives, itself included.

    Columns ``(Q, P)`` of the positives are -1 where a query has fewer. The counts are two of ``(Q, P)`` int64, for the
    best-scored positive first, or ``(Q, limit)`` for so many alone.
    """
    own = scores.gather(1, positives.clamp(min=0)).masked_fill(positives < 0, -torch.inf)
    own = own.sort(dim=1, descending=True).values
    alongside = count_at_least(own, own[:, :limit])
    return count_at_least(scores, own[:, :limit]) - alongside, alongside


def count_at_least(scores: Tensor, bars: Tensor) -> Tensor:
    """Number of the candidates ``scores (Q, C)`` that reach each of the query's ``bars (Q, P)``: ``(Q, P)`` int64."""
    if bars.shape[1] > _FEW_BARS:
        return scores.shape[1] - torch.searchsorted(ascending(scores.contiguous()), bars.contiguous())
    # As bytes a mask is summed twice as fast as as bools.
    counts = [(scores >= bar[:, None]).view(torch.uint8).sum(dim=1, dtype=torch.int32) for bar in bars.T]
    return torch.stack(counts, dim=1).long() if counts else torch.empty_like(bars, dtype=torch.int64)


def ranks_from_counts(ahead: Tensor, num_positives: Tensor, num_candidates: int | Tensor) -> Tensor:
    """Turn the counts ``ahead (Q, P)`` of :func:`count_ahead`, best positive first, into ranks ``(Q, P)``.

    Where a query has fewer than P positives, one more than its candidates, of which there are ``num_candidates``.
    """
    place = torch.arange(1, ahead.shape[1] + 1, device=ahead.device)
    last = num_candidates[:, None] if isinstance(num_candidates, Tensor) else num_candidates
    return torch.where(place <= num_positives[:, None], ahead + place, last + 1)
