"""From a gallery to the values of single queries, for any number of metrics at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias, get_args

from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import ACROSS, WITHIN, Direction
from vse_lightning.functional.similarity import Similarity, cosine_similarity
from vse_lightning.ranking.candidate_lists import (
    CandidateLists,
    ScoredRows,
    lists_of_images,
    lists_of_texts,
    lists_within,
)
from vse_lightning.ranking.collected_values import CollectedValues, groups_of, values_of
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.held_pairs import MOST_PAIRS, HeldPairs
from vse_lightning.ranking.pair_scores import PairScores
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
    values: dict[str, list[QueryValues]] = {name: [] for name in metrics}
    for part in passes(gallery, metrics, relevance, similarity, as_one_fold=as_one_fold):
        with exact_arithmetic(part.gallery.image_embeds.device):
            of_directions = part.values(processes or Processes())
        for name, metric in part.metrics.items():
            values[name].append({key: of_directions[key][name] for key in metric.directions})
    return values


def query_values_of_matrices(
    metrics: Mapping[str, RankingReader],
    scores: Tensor,
    relevance: Tensor | None,
    positives: Tensor,
    *,
    positives_count_1: bool = True,
) -> dict[str, QueryValues]:
    """The values of all queries of given matrices ``(N, M)`` by metric and direction.

    Args:
        metrics: by name.
        scores: higher is closer.
        relevance: in [0, 1]; None where no metric is graded.
        positives: bool.
        positives_count_1: whether that is their relevance, whatever the matrix says.
    """
    of_directions = {}
    for direction in {direction: None for metric in metrics.values() for direction in metric.directions}:
        collected = CollectedValues(groups_of(direction, metrics))
        for lists in lists_of_matrices(direction, scores, relevance, positives, positives_count_1=positives_count_1):
            collected.add(lists)
        of_directions[direction] = collected.values()
    return {name: {key: of_directions[key][name] for key in metric.directions} for name, metric in metrics.items()}


class Setting(NamedTuple):
    """What metrics must agree on to share a pass."""

    protocol: EvaluationProtocol
    similarity: Similarity
    relevance: LabelTable | None


def passes(
    gallery: Gallery,
    metrics: Mapping[str, RankingReader],
    relevance: LabelTable | None,
    similarity: Similarity | None,
    *,
    as_one_fold: bool,
) -> Iterator[Pass]:
    """The passes that take all metrics through a gallery: one for each fold of what different metrics agree on."""
    together: dict[tuple[object, ...], tuple[Setting, dict[str, RankingReader]]] = {}
    for name, metric in metrics.items():
        setting = Setting(
            replace(metric.protocol, folds=1) if as_one_fold else metric.protocol,
            next(known for known in (metric.similarity, similarity, cosine_similarity) if known is not None),
            relevance if metric.relevance is None else metric.relevance,
        )
        identity = (setting.protocol, id(setting.similarity), id(setting.relevance))
        together.setdefault(identity, (setting, {}))[1][name] = metric
    for setting, sharing in together.values():
        first = setting.protocol.captions_per_image
        kept = gallery if first is None else gallery.first_captions(first)
        for fold in kept.folds(setting.protocol.folds) if setting.protocol.folds > 1 else [kept]:
            yield Pass(fold, setting, sharing)


class Pass:
    """Ranks the queries of a gallery, or of a fold of it, for metrics that agree on a setting."""

    def __init__(self, gallery: Gallery, setting: Setting, metrics: Mapping[str, RankingReader]) -> None:
        self.gallery, self.setting, self.metrics = gallery, setting, metrics
        groups = {direction: groups_of(direction, metrics) for direction in get_args(Direction)}
        self.asked = {key: of for key, of in groups.items() if of and len(gallery.query_rows(key)) > 0}
        for direction in WITHIN:  # there must be something to rank
            if direction in self.asked and len(gallery.sides(direction)[1]) < 2:
                del self.asked[direction]
        self._directions = [key for key, of in groups.items() if of]

    def values(self, processes: Processes) -> dict[Direction, dict[str, Tensor]]:
        """The values by direction and metric: images and texts in one pass, each kind by itself in another."""
        none = dict.fromkeys(self.metrics, self.gallery.image_embeds.new_empty(0))
        values = dict.fromkeys(self._directions, none)
        across = [key for key in ACROSS if key in self.asked]
        if any(group.reading.whole for group in self.asked.get("t2i", ())):
            if self._can_hold_pairs(processes):
                across.clear()
                values |= self._of_held_pairs()
            else:
                across.remove("t2i")
                values["t2i"] = self._of_rows("t2i", processes)
        if across:
            values |= self._across(across, processes)
        for direction in WITHIN:
            if direction in self.asked:
                values[direction] = self._of_rows(direction, processes)
        return values

    def lists(self, direction: Direction, pair_scores: ScoredRows, processes: Processes) -> Iterator[CandidateLists]:
        """The lists of all candidates of a direction, by the rows that ``pair_scores`` score."""
        graded = any(group.reading.graded for group in self.asked[direction])
        labels = self.labels(direction) if graded else None
        if direction == "i2t":
            return lists_of_images(self.gallery, pair_scores, labels, processes)
        if direction == "t2i":
            return lists_of_texts(self.gallery, pair_scores, labels, processes)
        return lists_within(pair_scores, self.gallery.siblings(direction), labels, processes)

    def labels(self, direction: Direction) -> RelevanceBlocks | None:
        """Relevance of queries to candidates, if there are labels."""
        if direction == "t2t":
            return relevance_of_texts(self.gallery, self.setting.relevance)
        labels = relevance_blocks(self.gallery, self.setting.relevance, self.setting.protocol.captions_per_image)
        return relevance_of_images(self.gallery, labels) if direction == "i2i" and labels is not None else labels

    def _of_rows(self, direction: Direction, processes: Processes) -> dict[str, Tensor]:
        pair_scores, sharing = self._scored(direction, processes)
        queries = CollectedValues(self.asked[direction], self.gallery.query_rows(direction), sharing)
        for lists in self.lists(direction, pair_scores, sharing):
            queries.add(lists)
        return queries.values()

    def _can_hold_pairs(self, processes: Processes) -> bool:
        num_pairs = len(self.gallery.image_embeds) * len(self.gallery.text_embeds)
        unbounded = self.setting.protocol.chunk_size is None
        return unbounded and "i2t" in self.asked and processes.count == 1 and num_pairs <= MOST_PAIRS

    def _of_held_pairs(self) -> dict[Direction, dict[str, Tensor]]:
        """Whole lists of images and of texts, from one product."""
        pair_scores, alone = self._scored("i2t", Processes())
        images, texts = (CollectedValues(self.asked[key], self.gallery.query_rows(key)) for key in ACROSS)
        graded = any(group.reading.graded for key in ACROSS for group in self.asked[key])
        sides = len(self.gallery.image_embeds), len(self.gallery.text_embeds)
        held = HeldPairs(*sides, self.setting.protocol.rows_per_block(sides[0]))
        for lists in lists_of_images(self.gallery, pair_scores, self.labels("i2t") if graded else None, alone):
            held.add(lists)
            images.add(lists)
        for lists in lists_of_texts(self.gallery, held, held.labels if graded else None, alone):
            texts.add(lists)
        return {"i2t": images.values(), "t2i": texts.values()}

    def _across(self, directions: Sequence[Direction], processes: Processes) -> dict[Direction, dict[str, Tensor]]:
        """Images that rank texts, and texts whose lists grow with every block of images."""
        gallery, groups = self.gallery, {key: self.asked[key] if key in directions else [] for key in ACROSS}
        pair_scores, sharing = self._scored("i2t", processes)
        graded = any(group.reading.graded for of_direction in groups.values() for group in of_direction)
        images = CollectedValues(groups["i2t"], gallery.query_rows("i2t"), sharing)
        texts = [(TextQueries(gallery, group.reading, pair_scores, sharing), group) for group in groups["t2i"]]
        for lists in lists_of_images(gallery, pair_scores, self.labels("i2t") if graded else None, sharing):
            if groups["i2t"]:
                images.add(lists)
            for queries, _ in texts:
                queries.add(lists)
        values: dict[Direction, dict[str, Tensor]] = {"i2t": images.values()} if groups["i2t"] else {}
        if texts:
            rows = gallery.query_rows("t2i")
            rankings = [(queries.ranking().select(rows), group) for queries, group in texts]
            values["t2i"] = {name: of for ranking, group in rankings for name, of in values_of(group, ranking).items()}
        return values

    def _scored(self, direction: Direction, processes: Processes) -> tuple[PairScores, Processes]:
        """The scores, in blocks, and the processes that share them: all, or none if there are too few blocks."""

        def of_texts(texts: Tensor, images: Tensor) -> Tensor:
            return self.setting.similarity(images, texts).T

        queries, candidates = self.gallery.sides(direction)
        rows_per_block = self.setting.protocol.rows_per_block(len(candidates))
        similarity = of_texts if direction == "t2i" else self.setting.similarity
        pair_scores = PairScores(similarity, queries, candidates, rows_per_block, processes.count)
        return pair_scores, processes if len(pair_scores.blocks) >= processes.count else Processes()
