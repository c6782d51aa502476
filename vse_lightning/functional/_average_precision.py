"""Average precision of the whole list, or at R, the query's number of positives, and R-Precision."""

import torch
from torch import Tensor

from vse_lightning.functional._ranks import columns_of, count_ahead, positive_ranks
from vse_lightning.functional.query_lists import as_positives, as_scores
from vse_lightning.functional.sorting import places_of
from vse_lightning.functional.ties import has_equal, last_places


def average_precision(scores: Tensor, positives: Tensor) -> Tensor:
    """Average precision over the whole list: the mean of the precisions at the query's positives.

    Candidates with equal scores are retrieved together: the precision at a positive is the share of positives among all
    that score at least as high.

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query without a positive.

    Raises:
        ValueError: if the shapes differ or ``positives`` is no mask.

    Relations:
        Equal to :func:`sklearn.metrics.average_precision_score`; :func:`average_precision_at_r` stops at the R-th
        candidate.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.9, 0.5, 0.9]])
        >>> average_precision(scores, torch.tensor([[False, True, True], [True, True, False]]))
        tensor([0.5833, 0.5833])
    """
    scores = as_scores(scores)
    positives = as_positives(positives, scores)
    counts = count_ahead(scores, columns_of(positives))
    return average_precision_of_counts(*counts, positives.sum(dim=1)).to(scores.dtype)


def average_precision_of_counts(ahead: Tensor, alongside: Tensor, num_positives: Tensor) -> Tensor:
    """:func:`average_precision` from the two counts ``(Q, P)`` of :func:`count_ahead`: ``(Q,)`` float64."""
    present = torch.arange(ahead.shape[1], device=ahead.device) < num_positives[:, None]
    precision = (alongside.double() / (ahead + alongside)).where(present, 0)
    return precision.sum(dim=1) / num_positives.clamp(min=1)


def average_precision_of_sorted(ordered: Tensor, positives: Tensor) -> Tensor:
    """:func:`average_precision` of lists whose scores ``(Q, C)`` are ``ordered``, descending; for many positives."""
    counts = positives.sum(dim=1)
    row, place = places_of(positives)
    found = torch.arange(1, len(row) + 1, device=row.device) - (counts.cumsum(0) - counts)[row]
    precision = ordered.new_zeros(len(ordered)).index_add_(0, row, found.to(ordered.dtype) / (place + 1))
    tied = torch.unique(places_of(positives & has_equal(ordered))[0])
    if len(tied):
        last, _ = last_places(ordered[tied])
        precisions = positives[tied].cumsum(dim=1).gather(1, last - 1).to(ordered.dtype) / last
        precision[tied] = (precisions * positives[tied]).sum(dim=1)
    return precision / counts.clamp(min=1)


def average_precision_at_r(scores: Tensor, positives: Tensor) -> Tensor:
    """Average precision over the query's R best-scored candidates, R being its number of positives.

    The sum over the positives that rank within R of p / rank, for the p-th best of them, divided by R. A tie never
    helps (as in :func:`~vse_lightning.functional.ranks`).

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query without a positive.

    Raises:
        ValueError: if the shapes differ or ``positives`` is no mask.

    References:
        Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2 (MAP@R); Chun et al.,
        "ECCV Caption", ECCV 2022, uses it for image-text retrieval.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.9, 0.5, 0.7]])
        >>> average_precision_at_r(scores, torch.tensor([[False, True, True], [True, True, False]]))
        tensor([0.2500, 0.5000])
    """
    scores = as_scores(scores)
    return average_precision_of_ranks(positive_ranks(scores, positives), positives.sum(dim=1)).to(scores.dtype)


def r_precision(scores: Tensor, positives: Tensor) -> Tensor:
    """Share of positives among the query's R best-scored candidates, R being its number of positives.

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query without a positive.

    Raises:
        ValueError: if the shapes differ or ``positives`` is no mask.

    Relations:
        :func:`average_precision_at_r` also rewards the positives for ranking early within R.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.9, 0.5, 0.7]])
        >>> r_precision(scores, torch.tensor([[False, True, True], [True, False, True]]))
        tensor([0.5000, 1.0000])
    """
    scores = as_scores(scores)
    return r_precision_of_sorted(scores, as_positives(positives, scores), scores.sort(dim=1, descending=True).values)


def average_precision_of_ranks(positive_ranks: Tensor, num_positives: Tensor) -> Tensor:
    """:func:`average_precision_at_r` of queries whose ``positive_ranks (Q, P)`` are known: ``(Q,)`` float32."""
    place = torch.arange(1, positive_ranks.shape[1] + 1, device=positive_ranks.device)
    precision = (place / positive_ranks).where(positive_ranks <= num_positives[:, None], 0)
    return precision.sum(dim=1) / num_positives.clamp(min=1)


def r_precision_of_sorted(scores: Tensor, positives: Tensor, ordered: Tensor) -> Tensor:
    """:func:`r_precision` of lists of which the ``ordered`` scores ``(Q, C)``, descending, are known: ``(Q,)``.

    Needs no memory for the ranks of all positives, which may be as many as there are candidates.
    """
    num_positives = positives.sum(dim=1)
    last = ordered.gather(1, (num_positives - 1).clamp(min=0)[:, None])
    above, tied = scores > last, scores == last
    found = (above & positives).sum(dim=1)
    # Of those that tie for the last places, the ones that are no positives come first.
    room = num_positives - above.sum(dim=1) - (tied & ~positives).sum(dim=1)
    found += torch.minimum(room.clamp(min=0), (tied & positives).sum(dim=1))
    return (found / num_positives.clamp(min=1)).to(scores.dtype)


def r_precision_of_ranks(positive_ranks: Tensor, num_positives: Tensor) -> Tensor:
    """:func:`r_precision` of queries whose ``positive_ranks (Q, P)`` are known: ``(Q,)`` float32."""
    return (positive_ranks <= num_positives[:, None]).sum(dim=1) / num_positives.clamp(min=1)
