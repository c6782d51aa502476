"""From embeddings to the values of any number of metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.engine import of_queries, rank_gallery
from vse_lightning.metrics.exact_arithmetic import exact_arithmetic
from vse_lightning.metrics.gallery import Gallery, State
from vse_lightning.metrics.missing_labels import computable, refuse, why_not_graded
from vse_lightning.metrics.others import one_kind, rank_others, relevance_of_images, relevance_of_texts
from vse_lightning.metrics.pair_scores import PairScores, Similarity
from vse_lightning.metrics.protocol import EvaluationProtocol
from vse_lightning.metrics.reading import Direction, Reading
from vse_lightning.metrics.relevance import relevance_rows
from vse_lightning.metrics.workers import Workers
from vse_lightning.targets import LabelTable

if TYPE_CHECKING:
    from vse_lightning.metrics.ground_truth_metric import GroundTruthMetric
    from vse_lightning.metrics.retrieval_metric import RetrievalMetric
    from vse_lightning.metrics.state_metric import StateMetric

QueryValues: TypeAlias = dict[Direction, Tensor]
"""The values ``(Q,)`` of a metric's queries, by direction."""

Value: TypeAlias = Tensor | dict[str, Tensor]
"""What a metric computes: one number, or several by name."""

_NO_QUERY = {
    "i2t": "an image with a text",
    "t2i": "a text with an image",
    "i2i": "two images, one of them with a text",
    "t2t": "an image with two texts, as no other text matches (graded metrics: two texts, one of them with an image)",
}


def evaluate(
    state: State,
    metrics: Mapping[str, RetrievalMetric],
    *,
    relevance: LabelTable | None = None,
    similarity: Similarity | None = None,
    workers: Workers | None = None,
) -> dict[str, Tensor]:
    """Compute all ``metrics`` of one state in one pass over its pairs.

    Metrics that differ in protocol, similarity or labels take a pass each.

    Args:
        state: ``image_embeds``, ``text_embeds``, ``image_ids``, ``text_image_ids`` and, if given, ``text_features`` and
            ``text_ids`` as in :meth:`RetrievalMetric.update`, each a tensor or a list of tensors.
        metrics: by name; their own states are not read.
        relevance: labels for the metrics that have none of their own.
        similarity: for the metrics that have none of their own.
        workers: processes that call this with the same arguments and share the work.

    Returns:
        A scalar per metric.

    Raises:
        MissingRelevanceError: if a metric needs relevance and there is none.
        ValueError: if the state does not fit together, or a metric has no query.
    """
    gallery = Gallery.from_state(state)
    for name, metric in metrics.items():
        refuse(name, why_not_graded(metric, gallery, relevance))
    return evaluate_gallery(gallery, metrics, relevance=relevance, similarity=similarity, workers=workers)


def evaluate_members(
    metrics: Mapping[str, StateMetric],
    gallery: Gallery,
    *,
    relevance: LabelTable | None = None,
    similarity: Similarity | None = None,
    workers: Workers | None = None,
    partial: bool = False,
) -> tuple[dict[str, Value], dict[str, str]]:
    """The values of all metrics that can be computed, and the remedies for graded ones without labels.

    ``partial`` says that more was to be seen: metrics that need it all are left out too, and so are those without a
    query; the others take the gallery for one fold.
    """
    ranked = {name: cast("RetrievalMetric", metric) for name, metric in metrics.items() if not metric.needs_all}
    possible, remedies = computable(ranked, gallery, relevance)
    values: dict[str, Value] = dict(
        evaluate_gallery(
            gallery, possible, relevance=relevance, similarity=similarity, workers=workers, partial=partial
        )
    )
    for name, metric in metrics.items():
        if metric.needs_all and not partial:
            values[name] = cast("GroundTruthMetric", metric).evaluate(gallery, similarity)
    return {name: values[name] for name in metrics if name in values}, remedies


def evaluate_gallery(
    gallery: Gallery,
    metrics: Mapping[str, RetrievalMetric],
    *,
    relevance: LabelTable | None = None,
    similarity: Similarity | None = None,
    workers: Workers | None = None,
    partial: bool = False,
) -> dict[str, Tensor]:
    """:func:`evaluate` of a gallery, for metrics that have the labels they need.

    ``partial`` says that more was to be seen: the gallery is one fold, and metrics without a query are left out.
    """
    values: dict[str, Tensor] = {}
    for setting, together in _by_setting(metrics, relevance, similarity, partial):
        folds = list(_query_values(gallery, setting, together, workers or Workers()))
        for name, metric in together.items():
            of_folds = [fold[name] for fold in folds]
            if partial and not all(map(_has_queries, of_folds)):
                continue
            for fold in of_folds:
                check_queries(metric, fold, _NO_QUERY)
            value = torch.stack([metric.summarise(fold) for fold in of_folds]).mean()
            values[name] = value.to(gallery.image_embeds.dtype)
    return {name: values[name] for name in metrics if name in values}


def query_values(state: State, metric: RetrievalMetric, workers: Workers | None = None) -> QueryValues:
    """The values of a metric's queries, fold after fold, by ascending id."""
    gallery = Gallery.from_state(state)
    refuse(type(metric).__name__, why_not_graded(metric, gallery))
    of_folds = _query_values(gallery, _Setting.of(metric), {"metric": metric}, workers or Workers())
    folds = [fold["metric"] for fold in of_folds]
    for fold in folds:
        check_queries(metric, fold, _NO_QUERY)
    return {direction: torch.cat([fold[direction] for fold in folds]) for direction in metric.directions}


def check_queries(metric: RetrievalMetric, values: QueryValues, needed: Mapping[str, str]) -> None:
    """Refuse to summarise nothing.

    Args:
        metric: whose values they are.
        values: of its queries.
        needed: what makes a query, by direction.

    Raises:
        ValueError: if a direction has no query.
    """
    for direction, of_direction in values.items():
        if len(of_direction) == 0:
            name = getattr(metric, "name", type(metric).__name__)
            raise ValueError(f"{name} has no query in the gallery or one of its folds: it needs {needed[direction]}")


def _has_queries(values: QueryValues) -> bool:
    return all(len(of_direction) for of_direction in values.values())


class _Setting(NamedTuple):
    """What metrics must agree on to share a pass."""

    protocol: EvaluationProtocol
    similarity: Similarity
    relevance: LabelTable | None

    @classmethod
    def of(
        cls,
        metric: RetrievalMetric,
        relevance: LabelTable | None = None,
        similarity: Similarity | None = None,
        partial: bool = False,
    ) -> _Setting:
        own_or_given = similarity if metric.similarity is None else metric.similarity
        return cls(
            replace(metric.protocol, folds=1) if partial else metric.protocol,
            cosine_similarity if own_or_given is None else own_or_given,
            relevance if metric.relevance is None else metric.relevance,
        )


def _by_setting(
    metrics: Mapping[str, RetrievalMetric],
    relevance: LabelTable | None,
    similarity: Similarity | None,
    partial: bool,
) -> list[tuple[_Setting, dict[str, RetrievalMetric]]]:
    groups: dict[tuple[object, ...], tuple[_Setting, dict[str, RetrievalMetric]]] = {}
    for name, metric in metrics.items():
        setting = _Setting.of(metric, relevance, similarity, partial)
        identity = (setting.protocol, id(setting.similarity), id(setting.relevance))
        groups.setdefault(identity, (setting, {}))[1][name] = metric
    return list(groups.values())


def _query_values(
    gallery: Gallery, setting: _Setting, metrics: Mapping[str, RetrievalMetric], workers: Workers
) -> Iterator[dict[str, QueryValues]]:
    """For each fold the values of all queries, by metric and direction."""
    protocol = setting.protocol
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    readings = readings_of(metrics.values())
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

    readings = {direction: reading for direction, reading in readings.items() if _asks(gallery, direction)}
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
        ranking = rank_others(pair_scores, images.image_of_text, of_images, readings["i2i"], sharing)
        rankings["i2i"] = of_queries(ranking, gallery, "i2i")
    if "t2t" in readings:
        pair_scores, sharing = pair_scores_of(one_kind(gallery, "t2t"))
        graded = readings["t2t"].graded
        of_texts = relevance_of_texts(gallery, setting.relevance) if graded else None
        ranking = rank_others(pair_scores, gallery.image_of_text, of_texts, readings["t2t"], sharing)
        rankings["t2t"] = of_queries(ranking, gallery, "t2t")
    return rankings


def _asks(gallery: Gallery, direction: Direction) -> bool:
    """Whether there is a query, with something to rank."""
    candidates = {"i2i": len(gallery.image_ids), "t2t": len(gallery.text_embeds)}.get(direction, 2)
    return candidates > 1 and len(gallery.query_rows(direction)) > 0


def readings_of(metrics: Iterable[RetrievalMetric]) -> dict[Direction, Reading]:
    """What all metrics together read in each direction."""
    by_direction: dict[Direction, list[Reading]] = defaultdict(list)
    for metric in metrics:
        for direction in metric.directions:
            by_direction[direction].append(metric.reading)
    return {direction: reduce(or_, readings) for direction, readings in by_direction.items()}


def read_ranking(metric: RetrievalMetric, rankings: Mapping[Direction, Ranking]) -> QueryValues:
    """The values of the queries of each direction; a metric that counts matches leaves out queries without any."""
    values = {}
    for direction in metric.directions:
        values[direction] = torch.empty(0)
        ranking = rankings.get(direction)
        if ranking is not None and metric.reading.positives:
            matched = ranking.num_positives > 0
            ranking = ranking if matched.all() else ranking.select(matched)
        if ranking is not None and len(ranking.num_positives):
            values[direction] = metric.query_values(ranking)
    return values
