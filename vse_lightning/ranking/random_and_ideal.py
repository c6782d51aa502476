"""What random scores, and the labels themselves as scores, would get on a gallery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import Direction
from vse_lightning.ranking.candidate_lists import CandidateLists, pairs
from vse_lightning.ranking.collected_values import CollectedValues
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import Block
from vse_lightning.ranking.query_values import Pass, QueryValues, passes
from vse_lightning.ranking.reading import RankingReader
from vse_lightning.targets import LabelTable

DRAWS = 3
LEAST_QUERIES, SHARE = 64, 40
"""Of more queries than that, one in so many is asked, but at least as many: their mean says enough and costs little."""

FoldValues = dict[str, list[QueryValues]]
"""By metric and fold, the values of the queries."""


def baseline_values(
    gallery: Gallery,
    metrics: Mapping[str, RankingReader],
    relevance: LabelTable | None = None,
    *,
    as_one_fold: bool = False,
    seed: int = 0,
) -> tuple[list[FoldValues], FoldValues]:
    """Values of random scores, for each draw, and of the labels as scores; for a sample of the queries, but all lists.

    Without labels matches are worth 1 and all others nothing.

    Args:
        gallery: what to rank.
        metrics: by name; graded ones need labels of their own, the ``relevance`` or the gallery's ``text_features``.
        relevance: labels for the metrics that have none of their own.
        as_one_fold: whether to form no folds.
        seed: of the sample and of the scores.
    """
    draw = torch.Generator().manual_seed(seed)
    runs = [defaultdict[str, list[QueryValues]](list) for _ in range(DRAWS + 1)]
    for part in passes(gallery, metrics, relevance, None, as_one_fold=as_one_fold):
        of_directions = {direction: _of_direction(part, direction, draw) for direction in part.asked}
        for name, metric in part.metrics.items():
            asked = [direction for direction in metric.directions if direction in part.asked]
            for place, folds in enumerate(runs):
                folds[name].append({direction: of_directions[direction][place][name] for direction in asked})
    return [dict(folds) for folds in runs[:-1]], dict(runs[-1])


def sampled_queries(num_queries: int, draw: torch.Generator) -> Tensor:
    """The places of the queries that are asked, ascending."""
    kept = torch.randperm(num_queries, generator=draw)[: max(LEAST_QUERIES, num_queries // SHARE)]
    return kept.sort().values


def _of_direction(part: Pass, direction: Direction, draw: torch.Generator) -> list[dict[str, Tensor]]:
    """Values by metric, of each draw and of the ideal."""
    queries = part.gallery.query_rows(direction)
    kept = sampled_queries(len(queries), draw)
    candidates = part.gallery.sides(direction)[1]
    scored = _RandomScores(queries[kept.to(queries.device)], candidates, part, draw)
    collected = [CollectedValues(part.asked[direction]) for _ in range(DRAWS + 1)]
    for lists in part.lists(direction, scored, Processes()):
        for values in collected[:-1]:
            values.add(lists)
            lists = lists._replace(scores=scored.draw(len(lists.queries)))
        collected[-1].add(lists._replace(scores=_as_scores(lists)))
    return [values.values() for values in collected]


class _RandomScores:
    """In the place of :class:`~vse_lightning.ranking.pair_scores.PairScores`: uniform scores of some queries."""

    def __init__(self, queries: Tensor, candidates: Tensor, part: Pass, draw: torch.Generator) -> None:
        self._queries, self._candidates, self._draw = queries, candidates, draw
        size = part.setting.protocol.rows_per_block(len(candidates))
        self.blocks: list[Block] = list(pairwise([*range(0, len(queries), size), len(queries)]))

    def score(self, block: Block) -> Iterator[tuple[Tensor, Tensor]]:
        rows = self._queries[slice(*block)]
        yield rows, self.draw(len(rows))

    def draw(self, num_queries: int) -> Tensor:
        scores = torch.rand(num_queries, len(self._candidates), generator=self._draw)
        return scores.to(self._candidates.device)


def _as_scores(lists: CandidateLists) -> Tensor:
    if lists.relevance is not None:
        return lists.relevance
    matches = torch.zeros_like(lists.scores)
    matches[pairs(lists.positives)] = 1
    return matches
