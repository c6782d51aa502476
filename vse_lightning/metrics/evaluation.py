"""From embeddings, or from matrices of scores, to the values of any number of metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vse_lightning.functional.query_lists import as_positives, as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead_of_positives
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.engine import rank_gallery
from vse_lightning.metrics.exact_arithmetic import exact_arithmetic
from vse_lightning.metrics.gallery import Gallery, State
from vse_lightning.metrics.pair_scores import PairScores, Similarity
from vse_lightning.metrics.protocol import PAIRS_AT_ONCE, EvaluationProtocol
from vse_lightning.metrics.reading import Direction, Reading
from vse_lightning.metrics.relevance import RelevanceBlocks, relevance_rows
from vse_lightning.metrics.workers import Workers

if TYPE_CHECKING:
    from vse_lightning.metrics.retrieval_metric import RetrievalMetric


class MissingRelevanceError(ValueError):
    """A graded metric has no labels to compute from."""


def evaluate(
    state: State,
    metrics: Mapping[str, RetrievalMetric],
    *,
    relevance: RelevanceBlocks | None = None,
    similarity: Similarity | None = None,
    workers: Workers | None = None,
) -> dict[str, Tensor]:
    """Compute all ``metrics`` of one state in one pass over its pairs.

    Metrics that differ in protocol, similarity or labels take a pass each.

    Args:
        state: ``image_embeds``, ``text_embeds``, ``image_ids``, ``text_image_ids`` and, if given, ``text_features`` and
            ``text_ids`` as in :meth:`RetrievalMetric.update`, each a tensor or a list of tensors.
        metrics: by name; their own states are not read.
        relevance: overrides the metrics' label table.
        similarity: overrides the metrics' similarity.
        workers: processes that call this with the same arguments and share the work.

    Returns:
        A scalar per metric.

    Raises:
        MissingRelevanceError: if a metric needs relevance and there is none.
        ValueError: if the state does not fit together.
    """
    gallery = Gallery.from_state(state)
    values: dict[str, Tensor] = {}
    for setting, together in _by_setting(metrics, relevance, similarity):
        folds = list(_query_values(gallery, setting, together, workers or Workers()))
        for name, metric in together.items():
            of_folds = [metric.summarise(fold[name]) for fold in folds]
            values[name] = torch.stack(of_folds).mean().to(gallery.image_embeds.dtype)
    return {name: values[name] for name in metrics}


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
        for direction, reading in _readings(metrics.values()).items()
    }
    return {name: metric.summarise(_read(metric, rankings)).to(scores.dtype) for name, metric in metrics.items()}


def query_values(state: State, metric: RetrievalMetric, workers: Workers | None = None) -> dict[Direction, Tensor]:
    """The values ``(Q,)`` of a metric's queries for each of its directions, fold after fold, by ascending id."""
    setting = _Setting.of(metric)
    gallery = Gallery.from_state(state)
    folds = [fold["metric"] for fold in _query_values(gallery, setting, {"metric": metric}, workers or Workers())]
    return {direction: torch.cat([fold[direction] for fold in folds]) for direction in metric.directions}


def computable(
    metrics: Mapping[str, RetrievalMetric], state: State, relevance: RelevanceBlocks | None = None
) -> dict[str, RetrievalMetric]:
    """The ``metrics`` for which there is all they need: graded ones need a table of labels or text_features."""
    labelled = relevance is not None or len(state.get("text_features", ())) > 0
    return {
        name: metric
        for name, metric in metrics.items()
        if labelled or metric.relevance is not None or not metric.needs_relevance
    }


def refuse_graded(metrics: Mapping[str, RetrievalMetric]) -> None:
    """Raise if any of ``metrics`` needs the relevance that there is not."""
    graded = [name for name, metric in metrics.items() if metric.needs_relevance]
    if graded:
        raise MissingRelevanceError(
            f"{', '.join(graded)} needs graded relevance: give update text_features (sentence embeddings), "
            "or the metric relevance=<a RelevanceTable> (vse_lightning.relevance) and update text_ids"
        )


class _Setting(NamedTuple):
    """What metrics must agree on to share a pass."""

    protocol: EvaluationProtocol
    similarity: Similarity
    relevance: RelevanceBlocks | None

    @classmethod
    def of(
        cls, metric: RetrievalMetric, relevance: RelevanceBlocks | None = None, similarity: Similarity | None = None
    ) -> _Setting:
        similarity = metric.similarity if similarity is None else similarity
        return cls(
            metric.protocol,
            cosine_similarity if similarity is None else similarity,
            metric.relevance if relevance is None else relevance,
        )


def _by_setting(
    metrics: Mapping[str, RetrievalMetric], relevance: RelevanceBlocks | None, similarity: Similarity | None
) -> list[tuple[_Setting, dict[str, RetrievalMetric]]]:
    groups: dict[tuple[object, ...], tuple[_Setting, dict[str, RetrievalMetric]]] = {}
    for name, metric in metrics.items():
        setting = _Setting.of(metric, relevance, similarity)
        identity = (setting.protocol, id(setting.similarity), id(setting.relevance))
        groups.setdefault(identity, (setting, {}))[1][name] = metric
    return list(groups.values())


def _query_values(
    gallery: Gallery, setting: _Setting, metrics: Mapping[str, RetrievalMetric], workers: Workers
) -> Iterator[dict[str, dict[Direction, Tensor]]]:
    """For each fold the values of all queries, by metric and direction."""
    protocol = setting.protocol
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    readings = _readings(metrics.values())
    for fold in gallery.folds(protocol.folds):
        with exact_arithmetic(fold.image_embeds.device):
            labels = None
            if any(reading.graded for reading in readings.values()):
                labels = relevance_rows(fold, setting.relevance, protocol.captions_per_image)
                if labels is None:
                    refuse_graded(metrics)
            rows_per_block = protocol.rows_per_block(len(fold.text_embeds))
            pair_scores = PairScores(
                setting.similarity, fold.image_embeds, fold.text_embeds, rows_per_block, workers.count
            )
            enough = len(pair_scores.blocks) >= workers.count
            rankings = rank_gallery(fold, pair_scores, labels, readings, workers if enough else Workers())
        yield {name: _read(metric, rankings) for name, metric in metrics.items()}


def _readings(metrics: Iterable[RetrievalMetric]) -> dict[Direction, Reading]:
    """What all metrics together read in each direction."""
    by_direction: dict[Direction, list[Reading]] = defaultdict(list)
    for metric in metrics:
        for direction in metric.directions:
            by_direction[direction].append(metric.reading)
    return {direction: reduce(or_, readings) for direction, readings in by_direction.items()}


def _read(metric: RetrievalMetric, rankings: Mapping[Direction, Ranking]) -> dict[Direction, Tensor]:
    return {direction: metric.query_values(rankings[direction]) for direction in metric.directions}


def _rank_matrices(
    direction: Direction, reading: Reading, scores: Tensor, relevance: Tensor | None, positives: Tensor
) -> Ranking:
    """Rank the rows of the matrices (``i2t``) or their columns (``t2i``), some queries at a time."""
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
