"""From matrices of scores to the values of any number of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.query_lists import as_positives, as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead_of_positives
from vse_lightning.metrics.evaluation import read_ranking, readings_of, refuse_graded
from vse_lightning.metrics.protocol import PAIRS_AT_ONCE
from vse_lightning.metrics.reading import Direction, Reading

if TYPE_CHECKING:
    from vse_lightning.metrics.retrieval_metric import RetrievalMetric


def evaluate_scores(
    metrics: Mapping[str, RetrievalMetric],
    scores: Tensor,
    relevance: Tensor | None = None,
    positives: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute ``metrics`` from given matrices instead of embeddings.

    The options of the metrics (similarity, folds, ...) do not apply.

    Args:
        metrics: by name.
        scores: ``(N, M)`` of N images and M texts, higher is closer.
        relevance: ``(N, M)`` in [0, 1]; positives count 1.
        positives: ``(N, M)`` bool; default: the diagonal of a square matrix.

    Returns:
        A scalar per metric.

    Raises:
        MissingRelevanceError: if a metric needs relevance and there is none.
        ValueError: if shapes or ranges are wrong.
    """
    scores = as_scores(scores)
    if scores.isnan().any():
        raise ValueError("scores must not be NaN")
    if positives is None:
        if scores.shape[0] != scores.shape[1]:
            raise ValueError(f"positives must be given unless scores are square, got scores {tuple(scores.shape)}")
        positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    as_positives(positives, scores)
    if relevance is None:
        refuse_graded(metrics)
    rankings = {
        direction: _rank_matrices(direction, reading, scores, relevance, positives)
        for direction, reading in readings_of(metrics.values()).items()
    }
    return {name: metric.summarise(read_ranking(metric, rankings)).to(scores.dtype) for name, metric in metrics.items()}


def _rank_matrices(
    direction: Direction, reading: Reading, scores: Tensor, relevance: Tensor | None, positives: Tensor
) -> Ranking:
    """Rank the rows of the matrices (``i2t``) or their columns (``t2i``), some queries at a time."""
    require(
        direction in ("i2t", "t2i"),
        "direction {!r} needs embeddings: scores of images and texts do not tell",
        direction,
    )
    if direction == "t2i":
        scores, positives = scores.T, positives.T
        relevance = None if relevance is None else relevance.T
    rankings = []
    size = max(1, PAIRS_AT_ONCE // scores.shape[1])
    for start in range(0, len(scores), size):
        rows = slice(start, start + size)
        lists, matches, labels = scores[rows].contiguous(), positives[rows].contiguous(), None
        if reading.graded and relevance is not None:
            labels = as_relevance(relevance[rows].contiguous(), lists).masked_fill(matches, 1)
        ranking = Ranking.of(lists, labels, listed=reading.listed, ideal=reading.ideal)
        if reading.positives:
            ranking = ranking.with_positives(*count_ahead_of_positives(lists, matches, reading.positives))
        rankings.append(ranking)
    return Ranking.concatenate(rankings)
