"""Normalised cumulative semantic score: how relevant is what a query retrieves besides its own matches?"""

import torch
from torch import Tensor

from vse_lightning.checks import require_whole
from vse_lightning.functional.ndcg import shared_gains
from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking


def cumulative_semantic(scores: Tensor, relevance: Tensor, k: int) -> Tensor:
    """Relevance summed over each query's k best-scored candidates, over the largest such sum (NCS@k).

    The query's own positives do not belong into its list: they would hide what else it retrieves.

    Args:
        scores: ``(Q, C)``, higher is closer.
        relevance: ``(Q, C)`` in [0, 1].
        k: cut-off; larger than C means the whole list. Candidates with equal scores share the mean of their relevance.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query to which nothing is relevant.

    Raises:
        ValueError: if ``k`` is not positive, the shapes differ or relevance leaves [0, 1].

    References:
        Biten et al., "Is An Image Worth Five Sentences? A New Look into Semantics for Image-Text Matching", WACV 2022.

    Relations:
        NDCG with the linear gain (:func:`ndcg_at_k`) without its discount.

    Example:
        >>> import torch
        >>> cumulative_semantic(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.2, 0.6, 0.4]]), k=2)
        tensor([0.8000])
    """
    scores = as_scores(scores)
    relevance = as_relevance(relevance, scores)
    require_whole("k", k)
    return cumulative_semantic_of_ranking(Ranking.of(scores, relevance, listed=k, ideal=k), k)


def cumulative_semantic_of_ranking(ranking: Ranking, k: int) -> Tensor:
    """:func:`cumulative_semantic` of a ``ranking`` that lists, and keeps ideal relevance of, at least k places."""
    best = ranking.ideal[:, :k].sum(dim=1)
    return (shared_gains(ranking, "linear")[:, :k].sum(dim=1) / best).where(best > 0, torch.zeros_like(best))
