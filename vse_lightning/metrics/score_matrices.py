"""From matrices of scores to the values of any number of metrics."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.query_lists import as_positives, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead_of_positives
from vse_lightning.metrics.evaluation import check_queries, read_ranking, readings_of
from vse_lightning.metrics.members import Metrics, members_of
from vse_lightning.metrics.missing_labels import refuse, warn_left_out
from vse_lightning.metrics.protocol import PAIRS_AT_ONCE
from vse_lightning.metrics.reading import Direction, Reading
from vse_lightning.metrics.relevance import within_range
from vse_lightning.metrics.retrieval_metric import RetrievalMetric

Matrix: TypeAlias = "Tensor | np.ndarray[Any, Any]"

_NEEDED = dict.fromkeys(("i2t", "t2i"), "positives that mark a match")
_NO_LABELS = "give relevance, a matrix as large as scores"


def evaluate_scores(
    metrics: Metrics,
    scores: Matrix,
    relevance: Matrix | None = None,
    positives: Matrix | None = None,
) -> dict[str, Tensor]:
    """Compute ``metrics`` from given matrices instead of embeddings.

    The options of the metrics (similarity, folds, ...) do not apply. A text may match several images, and an image
    several texts. Metrics that count matches leave out queries without any; graded ones count every query, as the
    matrix knows its relevance.

    Args:
        metrics: a :class:`RetrievalMetrics`, a ``MetricCollection``, metrics by name or a list of them; without
            ``relevance`` graded ones are left out, with a warning.
        scores: ``(N, M)`` of N images and M texts, higher is closer.
        relevance: ``(N, M)`` in [0, 1]; positives count 1.
        positives: ``(N, M)`` bool; default: the diagonal of a square matrix.

    Returns:
        A scalar per metric.

    Raises:
        MissingRelevanceError: if all metrics need relevance and there is none.
        TypeError: if one of the metrics is not of this package.
        ValueError: if shapes or ranges are wrong, a score is NaN, or a metric has no query.
    """
    members: dict[str, RetrievalMetric] = {}
    for name, metric in members_of(metrics).items():
        ranks = isinstance(metric, RetrievalMetric)
        require(ranks, "{}: {} needs ids, which scores do not have", name, type(metric).__name__)
        members[name] = cast("RetrievalMetric", metric)
    scores = as_scores(as_matrix("scores", scores))
    relevance = None if relevance is None else as_matrix("relevance", relevance)
    require(len(scores) > 0, "scores must be of at least one image, got {}", tuple(scores.shape))
    require(not bool(scores.isnan().any()), "scores must not be NaN")
    if positives is None:
        square = scores.shape[0] == scores.shape[1]
        require(square, "positives must be given unless scores are square, got scores {}", tuple(scores.shape))
        positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    positives = as_positives(as_matrix("positives", positives), scores)
    if relevance is None:
        members = _without_graded(members)
    else:
        same, shapes = relevance.shape == scores.shape, (tuple(scores.shape), tuple(relevance.shape))
        require(same, "relevance must have the shape of scores {}, got {}", *shapes)
    rankings = {
        direction: _rank_matrices(direction, reading, scores, relevance, positives)
        for direction, reading in readings_of(members.values()).items()
    }
    values = {name: read_ranking(metric, rankings) for name, metric in members.items()}
    for name, metric in members.items():
        check_queries(metric, values[name], _NEEDED)
    return {name: metric.summarise(values[name]).to(scores.dtype) for name, metric in members.items()}


def as_matrix(name: str, matrix: Any) -> Tensor:
    """A tensor or an array as a tensor without gradient.

    Raises:
        ValueError: if it is neither.
    """
    try:
        return torch.as_tensor(matrix).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor or an array, got {type(matrix).__name__}: {error}") from None


def _without_graded(members: dict[str, RetrievalMetric]) -> dict[str, RetrievalMetric]:
    remedies = {name: _NO_LABELS for name, metric in members.items() if metric.needs_relevance}
    possible = {name: metric for name, metric in members.items() if name not in remedies}
    if not possible:
        refuse(", ".join(remedies), _NO_LABELS)
    if remedies:
        warn_left_out(remedies)
    return possible


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
            labels = within_range(relevance[rows].contiguous(), "the matrix").to(lists.dtype).masked_fill_(matches, 1)
        ranking = Ranking.of(lists, labels, listed=reading.listed, ideal=reading.ideal)
        if reading.positives:
            ranking = ranking.with_positives(*count_ahead_of_positives(lists, matches, reading.positives))
        rankings.append(ranking)
    return Ranking.concatenate(rankings)
