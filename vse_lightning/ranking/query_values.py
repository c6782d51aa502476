"""From a gallery to the values of single queries, for any number of metrics at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.ranking.across import of_queries, rank_across
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores, Similarity
from vse_lightning.ranking.reading import EvaluationProtocol, RankingReader, Reading
from vse_lightning.ranking.relevance_rows import relevance_rows
from vse_lightning.ranking.within import one_kind, rank_within, relevance_of_images, relevance_of_texts
from vse_lightning.targets import LabelTable

QueryValues: TypeAlias = dict[Direction, Tensor]
"""The values ``(Q,)`` of a metric's queries, by direction."""


def query_values(
    gallery: Gallery,
    metrics: Mapping[str, RankingReader],
    *,
    relevance: LabelTable | None = None,
    similarity: Similarity | None = None,
    processes: Processes | None = None,
    as_one_fold: bool = False,
) -> dict[str, list[QueryValues]]:
    """The values of all queries, in one pass over the pairs of the gallery.

    Metrics that differ in protocol, similarity or labels take a pass each.

    Args:
        gallery: what to rank.
        metrics: by name; graded ones need labels of their own, the ``relevance`` or the gallery's ``text_features``.
        relevance: labels for the metrics that have none of their own.
        similarity: for the metrics that have none of their own; default: the cosine.
        processes: that call this with the same arguments and share the work.
        as_one_fold: whether to form no folds.

    Returns:
        By metric and fold, for each direction the values ``(Q,)`` by ascending id, or none if there is no query.
        A metric that counts matches leaves out queries without any.

    Raises:
        ValueError: if the folds do not divide the images, or scores or labels are not what they must be.
    """
    settings: dict[tuple[object, ...], _Setting] = {}
    together: dict[tuple[object, ...], dict[str, RankingReader]] = defaultdict(dict)
    for name, metric in metrics.items():
        setting = _Setting(
            replace(metric.protocol, folds=1) if as_one_fold else metric.protocol,
            next(known for known in (metric.similarity, similarity, cosine_similarity) if known is not None),
            relevance if metric.relevance is None else metric.relevance,
        )
        identity = (setting.protocol, id(setting.similarity), id(setting.relevance))
        settings[identity] = setting
        together[identity][name] = metric
    values: dict[str, list[QueryValues]] = {name: [] for name in metrics}
    for key, sharing in together.items():
        for fold in _pass(gallery, settings[key], sharing, processes or Processes()):
            for name, of_fold in fold.items():
                values[name].append(of_fold)
    return values


def readings_of(metrics: Iterable[RankingReader]) -> dict[Direction, Reading]:
    """What all metrics together read in each direction."""
    by_direction: dict[Direction, list[Reading]] = defaultdict(list)
    for metric in metrics:
        for direction in metric.directions:
            by_direction[direction].append(metric.reading)
    return {direction: reduce(or_, readings) for direction, readings in by_direction.items()}


def read_rankings(metric: RankingReader, rankings: Mapping[Direction, Ranking]) -> QueryValues:
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


class _Setting(NamedTuple):
    """What metrics must agree on to share a pass."""

    protocol: EvaluationProtocol
    similarity: Similarity
    relevance: LabelTable | None


def _pass(
    gallery: Gallery, setting: _Setting, metrics: Mapping[str, RankingReader], processes: Processes
) -> Iterator[dict[str, QueryValues]]:
    """For each fold the values of all queries, by metric and direction."""
    protocol = setting.protocol
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    readings = readings_of(metrics.values())
    for fold in gallery.folds(protocol.folds):
        with exact_arithmetic(fold.image_embeds.device):
            rankings = _rank(fold, setting, readings, processes)
        yield {name: read_rankings(metric, rankings) for name, metric in metrics.items()}


def _rank(
    gallery: Gallery, setting: _Setting, readings: Mapping[Direction, Reading], processes: Processes
) -> dict[Direction, Ranking]:
    """Rank for the queries of all directions: one pass for images and texts, one for each kind by itself."""
    rows_per_block = setting.protocol.rows_per_block(len(gallery.text_embeds))

    def scored(ranked: Gallery) -> tuple[PairScores, Processes]:
        embeds = ranked.image_embeds, ranked.text_embeds
        pair_scores = PairScores(setting.similarity, *embeds, rows_per_block, processes.count)
        return pair_scores, processes if len(pair_scores.blocks) >= processes.count else Processes()

    readings = {direction: reading for direction, reading in readings.items() if _has_query(gallery, direction)}
    across = {direction: readings[direction] for direction in ACROSS if direction in readings}
    rankings: dict[Direction, Ranking] = {}
    labels = None
    if any(reading.graded for direction, reading in readings.items() if direction != "t2t"):
        labels = relevance_rows(gallery, setting.relevance, setting.protocol.captions_per_image)
    if across:
        pair_scores, sharing = scored(gallery)
        rankings |= rank_across(gallery, pair_scores, labels, across, sharing)
    if "i2i" in readings:
        images = one_kind(gallery, "i2i")
        of_images = None if labels is None else relevance_of_images(gallery, labels)
        pair_scores, sharing = scored(images)
        ranking = rank_within(pair_scores, images.image_of_text, of_images, readings["i2i"], sharing)
        rankings["i2i"] = of_queries(ranking, gallery, "i2i")
    if "t2t" in readings:
        of_texts = relevance_of_texts(gallery, setting.relevance) if readings["t2t"].graded else None
        pair_scores, sharing = scored(one_kind(gallery, "t2t"))
        ranking = rank_within(pair_scores, gallery.image_of_text, of_texts, readings["t2t"], sharing)
        rankings["t2t"] = of_queries(ranking, gallery, "t2t")
    return rankings


def _has_query(gallery: Gallery, direction: Direction) -> bool:
    """Whether there is a query, with something to rank."""
    candidates = {"i2i": len(gallery.image_ids), "t2t": len(gallery.text_embeds)}.get(direction, 2)
    return candidates > 1 and len(gallery.query_rows(direction)) > 0
