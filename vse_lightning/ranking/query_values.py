"""From a gallery to the values of single queries, for any number of metrics at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias, get_args

from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.ranking.candidate_lists import lists_of_images, lists_of_texts, lists_within
from vse_lightning.ranking.collected_values import CollectedValues, Group, groups_of
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores, Similarity
from vse_lightning.ranking.reading import EvaluationProtocol, RankingReader
from vse_lightning.ranking.relevance_blocks import (
    RelevanceBlocks,
    relevance_blocks,
    relevance_of_images,
    relevance_of_texts,
)
from vse_lightning.ranking.score_matrices import lists_of_matrices
from vse_lightning.ranking.text_queries import TextQueries
from vse_lightning.targets import LabelTable

QueryValues: TypeAlias = dict[Direction, Tensor]
"""The values ``(Q,)`` of a metric's queries, by direction; NaN where a query does not count."""


class Setting(NamedTuple):
    """What metrics must agree on to share a pass."""

    protocol: EvaluationProtocol
    similarity: Similarity
    relevance: LabelTable | None


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
        By metric and fold, for each direction the values ``(Q,)`` by ascending id, or none if there is no query. NaN
        marks queries that a metric leaves out, those without a match if it counts matches.

    Raises:
        ValueError: if the folds do not divide the images, or scores, labels or values are not what they must be.
    """
    together: dict[tuple[object, ...], tuple[Setting, dict[str, RankingReader]]] = {}
    for name, metric in metrics.items():
        setting = Setting(
            replace(metric.protocol, folds=1) if as_one_fold else metric.protocol,
            next(known for known in (metric.similarity, similarity, cosine_similarity) if known is not None),
            relevance if metric.relevance is None else metric.relevance,
        )
        identity = (setting.protocol, id(setting.similarity), id(setting.relevance))
        together.setdefault(identity, (setting, {}))[1][name] = metric
    values: dict[str, list[QueryValues]] = {name: [] for name in metrics}
    for setting, sharing in together.values():
        first = setting.protocol.captions_per_image
        kept = gallery if first is None else gallery.first_captions(first)
        for fold in kept.folds(setting.protocol.folds):
            with exact_arithmetic(fold.image_embeds.device):
                of_directions = _Pass(fold, setting, processes or Processes()).values(sharing)
            for name, metric in sharing.items():
                values[name].append({key: of_directions[key][name] for key in metric.directions})
    return values


def query_values_of_matrices(
    metrics: Mapping[str, RankingReader], scores: Tensor, relevance: Tensor | None, positives: Tensor
) -> dict[str, QueryValues]:
    """The values of all queries of given matrices ``(N, M)`` by metric and direction."""
    of_directions = {}
    for direction in {direction: None for metric in metrics.values() for direction in metric.directions}:
        collected = CollectedValues(groups_of(direction, metrics))
        for lists in lists_of_matrices(direction, scores, relevance, positives):
            collected.add(lists)
        of_directions[direction] = collected.values()
    return {name: {key: of_directions[key][name] for key in metric.directions} for name, metric in metrics.items()}


class _Pass:
    """Ranks the queries of a gallery, or of a fold of it."""

    def __init__(self, gallery: Gallery, setting: Setting, processes: Processes) -> None:
        self._gallery, self._setting, self._processes = gallery, setting, processes

    def values(self, metrics: Mapping[str, RankingReader]) -> dict[Direction, dict[str, Tensor]]:
        """The values by direction and metric: images and texts in one pass, each kind by itself in another."""
        asked = {direction: groups_of(direction, metrics) for direction in get_args(Direction)}
        none = dict.fromkeys(metrics, self._gallery.image_embeds.new_empty(0))
        values = {direction: none for direction, groups in asked.items() if groups}
        asked = {key: groups for key, groups in asked.items() if groups and self._has_query(key)}
        labels = None
        if any(group.reading.graded for key, groups in asked.items() if key != "t2t" for group in groups):
            relevance, captions_per_image = self._setting.relevance, self._setting.protocol.captions_per_image
            labels = relevance_blocks(self._gallery, relevance, captions_per_image)
        if any(group.reading.whole for group in asked.get("t2i", ())):
            values["t2i"] = self._of_texts(asked.pop("t2i"), labels)
        if "i2t" in asked or "t2i" in asked:
            values |= self._across(asked, labels)
        if "i2i" in asked:
            of_images = None if labels is None else relevance_of_images(self._gallery, labels)
            values["i2i"] = self._within("i2i", asked["i2i"], of_images)
        if "t2t" in asked:
            graded = any(group.reading.graded for group in asked["t2t"])
            of_texts = relevance_of_texts(self._gallery, self._setting.relevance) if graded else None
            values["t2t"] = self._within("t2t", asked["t2t"], of_texts)
        return values

    def _across(
        self, asked: Mapping[Direction, list[Group]], labels: RelevanceBlocks | None
    ) -> dict[Direction, dict[str, Tensor]]:
        gallery, values = self._gallery, dict[Direction, dict[str, Tensor]]()
        pair_scores, sharing = self._scored(self._setting.similarity, gallery.image_embeds, gallery.text_embeds)
        images = CollectedValues(asked.get("i2t", []), gallery.query_rows("i2t"), sharing)
        texts = [(TextQueries(gallery, group.reading, pair_scores, sharing), group) for group in asked.get("t2i", [])]
        for lists in lists_of_images(gallery, pair_scores, labels, sharing):
            images.add(lists)
            for queries, _ in texts:
                queries.add(lists)
        if "i2t" in asked:
            values["i2t"] = images.values()
        if texts:
            rows = gallery.query_rows("t2i")
            rankings = [(queries.ranking().select(rows), group) for queries, group in texts]
            values["t2i"] = {name: of for ranking, group in rankings for name, of in group.values(ranking).items()}
        return values

    def _of_texts(self, groups: list[Group], labels: RelevanceBlocks | None) -> dict[str, Tensor]:
        def similarity(texts: Tensor, images: Tensor) -> Tensor:
            return self._setting.similarity(images, texts).T

        gallery = self._gallery
        pair_scores, sharing = self._scored(similarity, gallery.text_embeds, gallery.image_embeds)
        texts = CollectedValues(groups, gallery.query_rows("t2i"), sharing)
        for lists in lists_of_texts(gallery, pair_scores, labels, sharing):
            texts.add(lists)
        return texts.values()

    def _within(
        self, direction: Literal["i2i", "t2t"], groups: list[Group], labels: RelevanceBlocks | None
    ) -> dict[str, Tensor]:
        gallery = self._gallery
        embeds = gallery.one_kind(direction).image_embeds
        pair_scores, sharing = self._scored(self._setting.similarity, embeds, embeds)
        queries = CollectedValues(groups, gallery.query_rows(direction), sharing)
        for lists in lists_within(pair_scores, gallery.siblings(direction), labels, sharing):
            queries.add(lists)
        return queries.values()

    def _scored(self, similarity: Similarity, queries: Tensor, candidates: Tensor) -> tuple[PairScores, Processes]:
        """The scores, in blocks, and the processes that share them: all, or none if there are too few blocks."""
        rows_per_block = self._setting.protocol.rows_per_block(len(candidates))
        pair_scores = PairScores(similarity, queries, candidates, rows_per_block, self._processes.count)
        return pair_scores, self._processes if len(pair_scores.blocks) >= self._processes.count else Processes()

    def _has_query(self, direction: Direction) -> bool:
        """Whether there is a query, with something to rank."""
        candidates = {"i2i": len(self._gallery.image_ids), "t2t": len(self._gallery.text_embeds)}.get(direction, 2)
        return candidates > 1 and len(self._gallery.query_rows(direction)) > 0
