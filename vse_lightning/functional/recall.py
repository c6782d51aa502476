"""Recall at k."""

from typing import Literal, get_args

import torch
from torch import Tensor

from vse_lightning.checks import require_one_of, require_whole
from vse_lightning.functional._ranks import positive_ranks, ranks
from vse_lightning.functional.query_lists import as_scores

Recall = Literal["any", "all"]


def recall_at_k(scores: Tensor, positives: Tensor, k: int, recall: Recall = "any") -> Tensor:
    """Whether a query finds what it looks for among its k best-scored candidates.

    ``"any"``, the recall of image-text retrieval: 1 if any positive is among the k best, else 0. ``"all"``, the recall
    of information retrieval: the share of the positives among the k best. A tie never helps (:func:`ranks`).

    Args:
        scores: ``(Q, C)``, higher is closer.
        positives: ``(Q, C)`` bool.
        k: cut-off; larger than C means the whole list.
        recall: ``"any"`` or ``"all"``.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query without a positive.

    Raises:
        ValueError: if ``k`` is not positive, ``recall`` is unknown, the shapes differ or ``positives`` is no mask.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.7], [0.2, 0.3, 0.1]])
        >>> positives = torch.tensor([[True, True, False], [True, False, False]])
        >>> recall_at_k(scores, positives, k=1)
        tensor([1., 0.])
        >>> recall_at_k(scores, positives, k=2, recall="all")
        tensor([0.5000, 1.0000])
    """
    require_one_of("recall", recall, get_args(Recall))
    scores = as_scores(scores)
    found = ranks(scores, positives)[:, None] if recall == "any" else positive_ranks(scores, positives)
    return recall_of_ranks(found, positives.sum(dim=1), k, recall).to(scores.dtype)


def recall_of_ranks(positive_ranks: Tensor, num_positives: Tensor, k: int, recall: Recall = "any") -> Tensor:
    """:func:`recall_at_k` of queries whose ``positive_ranks (Q, P)`` are known: ``(Q,)`` float32."""
    require_whole("k", k)
    place = torch.arange(positive_ranks.shape[1], device=positive_ranks.device)
    found = ((positive_ranks <= k) & (place < num_positives[:, None])).sum(dim=1)
    return found.clamp(max=1).float() if recall == "any" else found / num_positives.clamp(min=1)
