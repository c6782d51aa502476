"""Coherent Score: does the order of the retrieved candidates agree with their relevance?"""

import torch
from torch import Tensor

from vse_lightning.checks import require_whole
from vse_lightning.functional._kendall_tau import kendall_tau
from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking


def coherent_score(scores: Tensor, relevance: Tensor, k: int) -> Tensor:
    """Kendall's tau-b between scores and relevance over each query's k best-scored candidates (CS@k).

    Args:
        scores: ``(Q, C)``, higher is closer.
        relevance: ``(Q, C)`` in [0, 1].
        k: cut-off, at least 2: one candidate has no order; larger than C means the whole list. Of candidates that tie
            across it the first ones are taken.

    Returns:
        ``(Q,)`` in [-1, 1], in the dtype of ``scores``; 0 where scores or relevance are constant among the k best.

    Raises:
        ValueError: if ``k`` is below 2, the shapes differ or relevance leaves [0, 1].

    References:
        Zhou et al., "Ladder Loss for Coherent Visual-Semantic Embedding", AAAI 2020, section 3.3; the released code
        computes tau with scipy, hence tau-b.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.3, 0.1]])
        >>> coherent_score(scores, torch.tensor([[1.0, 0.2, 0.6, 0.1]]), k=4)
        tensor([0.6667])
        >>> coherent_score(scores, torch.tensor([[1.0, 0.2, 0.6, 0.1]]), k=2)
        tensor([1.])
    """
    scores = as_scores(scores)
    relevance = as_relevance(relevance, scores)
    require_whole("k", k, least=2)
    return coherent_score_of_ranking(Ranking.of(scores, relevance, listed=k), k)


def coherent_score_of_ranking(ranking: Ranking, k: int) -> Tensor:
    """:func:`coherent_score` of a ``ranking`` that lists at least the first k places."""
    lengths = ranking.num_candidates.clamp(max=min(k, ranking.scores.shape[1]))
    values = torch.zeros_like(ranking.scores[:, 0])
    for length in torch.unique(lengths).tolist():
        rows = lengths == length
        values[rows] = kendall_tau(ranking.scores[rows, :length], ranking.relevance[rows, :length])
    return values
