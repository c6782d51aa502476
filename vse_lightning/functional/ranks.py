"""Ranks of the positives of a query: counts of candidates that score at least as high, hence no sort."""

import torch
from torch import Tensor

from vse_lightning.functional.query_lists import as_positives, as_scores


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
    scores = as_scores(scores)
    positives = as_positives(positives, scores)
    ahead, num_positives = count_ahead_of_positives(scores, positives, limit=1)
    return ranks_from_counts(ahead, num_positives, scores.shape[1])[:, 0]


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """Ranks of all positives of each query, the best-scored first.

    The p-th of them ranks p + the number of candidates that are no positives and score at least as high.

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.

    Returns:
        ``(Q, P)`` int64, ascending, where P is the largest number of positives of a query (at least 1); C + 1 where a
        query has fewer. The first column is :func:`ranks`.

    Raises:
        ValueError: if the shapes differ or ``positives`` is no mask.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.2, 0.2, 0.1]])
        >>> positive_ranks(scores, torch.tensor([[False, True, True], [True, False, False]]))
        tensor([[2, 3],
                [2, 4]])
    """
    scores = as_scores(scores)
    positives = as_positives(positives, scores)
    ahead, num_positives = count_ahead_of_positives(scores, positives)
    return ranks_from_counts(ahead, num_positives, scores.shape[1])


def count_ahead_of_positives(scores: Tensor, positives: Tensor, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """:func:`count_ahead` of the positives that a mask ``(Q, C)`` marks, and their number ``(Q,)``."""
    num_positives = _count(positives)
    masked = scores.masked_fill(~positives, -torch.inf)
    if limit == 1:
        best = masked.amax(dim=1, keepdim=True)
        return _count((scores >= best) & ~positives)[:, None], num_positives
    own = masked.topk(max(1, int(num_positives.max()))).values
    present = torch.arange(own.shape[1], device=own.device) < num_positives[:, None]
    return count_ahead(scores, own, present, limit), num_positives


def count_ahead(scores: Tensor, own: Tensor, present: Tensor, limit: int | None = None) -> Tensor:
    """Number of candidates that are no positives and score at least as high as each positive.

    Args:
        scores: ``(Q, C)`` of all candidates, the positives among them.
        own: ``(Q, P)`` scores of the positives, descending.
        present: ``(Q, P)`` bool, false where ``own`` is only padding.
        limit: count only for the best ``limit`` positives.

    Returns:
        ``(Q, P)`` int64, or ``(Q, limit)``.
    """
    bars = own[:, :limit]
    positives_ahead = ((own[:, None, :] >= bars[:, :, None]) & present[:, None, :]).sum(dim=2)
    return count_at_least(scores, bars) - positives_ahead


def count_at_least(scores: Tensor, bars: Tensor) -> Tensor:
    """Number of the candidates ``scores (Q, C)`` that reach each of the query's ``bars (Q, P)``: ``(Q, P)`` int64."""
    return torch.stack([_count(scores >= bar[:, None]) for bar in bars.T], dim=1)


def _count(mask: Tensor) -> Tensor:
    """Number of true entries in each row; as bytes they are summed twice as fast as as bools."""
    return mask.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()


def ranks_from_counts(ahead: Tensor, num_positives: Tensor, num_candidates: int) -> Tensor:
    """Turn the counts ``ahead (Q, P)`` of :func:`count_ahead`, best positive first, into ranks ``(Q, P)``."""
    place = torch.arange(1, ahead.shape[1] + 1, device=ahead.device)
    return torch.where(place <= num_positives[:, None], ahead + place, num_candidates + 1)
