"""From embeddings to the values of any number of metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.engine import rank_gallery
from vse_lightning.metrics.exact_arithmetic import exact_arithmetic
from vse_lightning.metrics.gallery import Gallery, State
from vse_lightning.metrics.others import one_kind, rank_others, relevance_of_images, relevance_of_texts
from vse_lightning.metrics.pair_scores import PairScores, Similarity
from vse_lightning.metrics.protocol import EvaluationProtocol
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
    readings = readings_of(metrics.values())
    graded = any(reading.graded for reading in readings.values())
    if graded and setting.relevance is None and gallery.text_features is None:
        refuse_graded(metrics)
    for fold in gallery.folds(protocol.folds):
        with exact_arithmetic(fold.image_embeds.device):
            rankings = _rank(fold, setting, readings, workers)
        yield {name: read_ranking(metric, rankings) for name, metric in metrics.items()}


def _rank(
    gallery: Gallery, setting: _Setting, readings: Mapping[Direction, Reading], workers: Workers
) -> dict[Direction, Ranking]:
    """Rank for the queries of all directions: one pass for images and texts, one for each kind by itself."""

    def pair_scores_of(ranked: Gallery) -> tuple[PairScores, Workers]:
        rows_per_block = setting.protocol.rows_per_block(len(gallery.text_embeds))
        pair_scores = PairScores(
            setting.similarity, ranked.image_embeds, ranked.text_embeds, rows_per_block, workers.count
        )
        return pair_scores, workers if len(pair_scores.blocks) >= workers.count else Workers()

    rankings: dict[Direction, Ranking] = {}
    labels = None
    if any(reading.graded for direction, reading in readings.items() if direction != "t2t"):
        labels = relevance_rows(gallery, setting.relevance, setting.protocol.captions_per_image)
    across: dict[Direction, Reading] = {key: reading for key, reading in readings.items() if key in ("i2t", "t2i")}
    if across:
        pair_scores, sharing = pair_scores_of(gallery)
        rankings |= rank_gallery(gallery, pair_scores, labels, across, sharing)
    if "i2i" in readings:
        images = one_kind(gallery, "i2i")
        pair_scores, sharing = pair_scores_of(images)
        of_images = None if labels is None else relevance_of_images(gallery, labels)
        rankings["i2i"] = rank_others(pair_scores, images.image_of_text, of_images, readings["i2i"], sharing)
    if "t2t" in readings:
        pair_scores, sharing = pair_scores_of(one_kind(gallery, "t2t"))
        graded = readings["t2t"].graded
        of_texts = relevance_of_texts(gallery, setting.relevance) if graded else None
        rankings["t2t"] = rank_others(pair_scores, gallery.image_of_text, of_texts, readings["t2t"], sharing)
    return rankings


def readings_of(metrics: Iterable[RetrievalMetric]) -> dict[Direction, Reading]:
    """What all metrics together read in each direction."""
    by_direction: dict[Direction, list[Reading]] = defaultdict(list)
    for metric in metrics:
        for direction in metric.directions:
            by_direction[direction].append(metric.reading)
    return {direction: reduce(or_, readings) for direction, readings in by_direction.items()}


def read_ranking(metric: RetrievalMetric, rankings: Mapping[Direction, Ranking]) -> dict[Direction, Tensor]:
    """The values of the queries of each direction; texts without a match among texts have none."""
    values = {}
    for direction in metric.directions:
        ranking = rankings[direction]
        if direction == "t2t" and metric.reading.positives:
            matched = ranking.num_positives > 0
            require(
                bool(matched.any()), "{} needs an image with two texts: without, no text matches another", metric.name
            )
            ranking = ranking.select(matched)
        values[direction] = metric.query_values(ranking)
    return values
