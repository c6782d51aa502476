"""Gains of graded relevance that a query collects on its way down the list: NDCG, and NCS without a discount."""

from typing import Literal

import torch
from torch import Tensor

from vse_lightning.checks import require_one_of, require_whole
from vse_lightning.functional.gains import GAINS, gains_of
from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.sorting import places_of
from vse_lightning.functional.ties import has_equal

Cutoff = int | Literal["relevant"]
"""How many of the best candidates; ``"relevant"``: as many as the query has candidates of relevance above 0."""


def ndcg_at_k(scores: Tensor, relevance: Tensor, k: Cutoff, gain: str = "exponential") -> Tensor:
    r"""NDCG of each query's k best-scored candidates.

    .. math:: \frac{\mathrm{DCG}}{\mathrm{IDCG}}, \qquad \mathrm{DCG} = \sum_{p=1}^{k} \frac{g_p}{\log_2(1 + p)}

    - :math:`g_p`: gain of the candidate in place p (``gain``): relevance itself (``"linear"``) or 2 ** relevance - 1
      (``"exponential"``). Candidates with equal scores, those beyond k included, share the mean of their gains.
    - :math:`\mathrm{IDCG}`: DCG of the list sorted by relevance.

    Args:
        scores: ``(Q, C)``, higher is closer.
        relevance: ``(Q, C)`` in [0, 1].
        k: cut-off; larger than C means the whole list; ``"relevant"``: as many as the query has candidates of relevance
            above 0, the protocol of EPIC-Kitchens multi-instance retrieval (with the linear gain).
        gain: ``"exponential"`` or ``"linear"``.

    Returns:
        ``(Q,)`` in [0, 1], in the dtype of ``scores``; 0 for a query to which nothing is relevant.

    Raises:
        ValueError: if ``k`` is neither positive nor ``"relevant"``, ``gain`` is unknown, the shapes differ or relevance
            leaves [0, 1].

    References:
        Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 2002 (linear); Burges et al.,
        "Learning to Rank Using Gradient Descent", ICML 2005 (exponential); McSherry and Najork, "Computing Information
        Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008.

    Relations:
        With the linear gain equal to :func:`sklearn.metrics.ndcg_score`.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.0, 1.0, 0.5]])
        >>> ndcg_at_k(scores, relevance, k=2, gain="linear")
        tensor([0.4796])
    """
    scores = as_scores(scores)
    relevance = as_relevance(relevance, scores)
    check_ndcg_cutoff(k)
    longest = k if isinstance(k, int) else scores.shape[1]
    return ndcg_of_ranking(Ranking.of(scores, relevance, listed=longest, ideal=longest), k, gain)


def ndcg_of_ranking(ranking: Ranking, k: Cutoff, gain: str = "exponential") -> Tensor:
    """:func:`ndcg_at_k` of a ``ranking`` that lists, and keeps ideal relevance of, at least the first k places."""
    require_one_of("gain", gain, GAINS)
    width = ranking.scores.shape[1] if k == "relevant" else min(k, ranking.scores.shape[1])
    places = torch.arange(width, device=ranking.scores.device)
    discount = 1 / torch.log2((places + 2).to(ranking.scores.dtype))
    gains, ideal = shared_gains(ranking, gain)[:, :width], gains_of(ranking.ideal[:, :width], gain)
    if k == "relevant":  # beyond the cut-off of a query nothing is relevant in the ideal order
        gains = gains * (places < (ranking.ideal > 0).sum(dim=1, keepdim=True))
    dcg, ideal_dcg = (gains * discount).sum(dim=1), (ideal * discount).sum(dim=1)
    return (dcg / ideal_dcg).where(ideal_dcg > 0, 0)


def shared_gains(ranking: Ranking, gain: str) -> Tensor:
    """Gains ``(Q, K)`` of the listed candidates; those of equal scores share the mean of theirs, unlisted ones too."""
    gains = gains_of(ranking.relevance, gain)
    scores, overflow = ranking.scores, ranking.overflow
    tied = has_equal(scores) | ((scores == scores[:, -1:]) & (overflow[:, :1] > 0))
    row, place = places_of(tied)
    if len(row) == 0:
        return gains
    starts = (place == 0) | (scores[row, place] != scores[row, place - 1])
    run = starts.cumsum(0) - 1
    totals = gains.new_zeros(int(run[-1]) + 1, 2)
    totals.index_add_(0, run, torch.stack([torch.ones_like(gains[row, place]), gains[row, place]], dim=1))
    last = place == scores.shape[1] - 1
    totals[run[last]] += overflow[row[last]][:, [0, 1 + GAINS.index(gain)]]
    return gains.index_put((row, place), (totals[:, 1] / totals[:, 0])[run])


def check_ndcg_cutoff(k: Cutoff) -> None:
    """Refuse a cut-off that is neither a whole number above 0 nor ``"relevant"``."""
    if k != "relevant":
        require_whole("k", k)


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
