"""From a gallery to the values of single queries, for any number of metrics at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import Direction
from vse_lightning.ranking.collected_values import CollectedValues, groups_of
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import Similarity
from vse_lightning.ranking.passes import passes
from vse_lightning.ranking.reading import RankingReader
from vse_lightning.ranking.score_matrices import lists_of_matrices
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
