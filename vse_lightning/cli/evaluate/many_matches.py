"""Values of queries where a matrix says what matches: any number of texts an image, and of images a text."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

from vse_lightning.functional.directions import Direction
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics import RetrievalMetric
from vse_lightning.metrics._values import summary
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.pair_scores import PairScores
from vse_lightning.ranking.query_values import Pass, QueryValues, passes, query_values_of_matrices
from vse_lightning.ranking.random_and_ideal import DRAWS, sampled_queries
from vse_lightning.ranking.relevance_blocks import RelevanceBlocks
from vse_lightning.targets import LabelTable

NEEDED = dict.fromkeys(("i2t", "t2i"), "something that matches by --relevance and --positive_threshold")

RankedMetrics = Mapping[str, RetrievalMetric]


class _Truth(NamedTuple):
    """Of a part of the gallery ``(N, M)``; a match has the relevance that the labels give it."""

    relevance: Tensor
    matches: Tensor


def values_of_matches(
    gallery: Gallery, metrics: RankedMetrics, relevance: LabelTable, similarity: Similarity, matches: Tensor
) -> dict[str, list[QueryValues]]:
    """The values of all queries, by metric and fold, where ``matches (N, M)`` are of the whole gallery.

    The gallery has text ids; an image's own texts are relevance 1.
    """
    values = defaultdict[str, list[QueryValues]](list)
    for part in passes(gallery, metrics, relevance, similarity, as_one_fold=False):
        found = _values(part.metrics, _scores(part), _truth(part, gallery, matches))
        for name, of_queries in found.items():
            values[name].append(of_queries)
    return dict(values)


def baselines_of_matches(
    gallery: Gallery, metrics: RankedMetrics, relevance: LabelTable, matches: Tensor, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What random scores, and the relevance itself as scores, get in single directions: a sample of the queries."""
    draw = torch.Generator().manual_seed(seed)
    folds: list[dict[str, list[QueryValues]]] = [defaultdict(list) for _ in range(DRAWS + 1)]
    for part in passes(gallery, metrics, relevance, None, as_one_fold=False):
        truth = _truth(part, gallery, matches)
        for direction, asked in _by_direction(cast("RankedMetrics", part.metrics)):
            sample = _sampled(truth, direction, draw)
            scores = [torch.rand(sample.relevance.shape, generator=draw) for _ in range(DRAWS)]
            for run, of_run in zip(folds, [*scores, sample.relevance], strict=True):
                for name, of_queries in _values(asked, of_run, sample).items():
                    run[name].append(of_queries)
    *random, ideal = ({name: summary(metrics[name], of, NEEDED) for name, of in run.items()} for run in folds)
    return {
        "random": {name: float(torch.stack([run[name] for run in random]).mean()) for name in ideal},
        "ideal": {name: float(value) for name, value in ideal.items()},
    }


def _values(metrics: Mapping[str, object], scores: Tensor, truth: _Truth) -> dict[str, QueryValues]:
    ranked = cast("RankedMetrics", metrics)
    return query_values_of_matrices(ranked, scores, truth.relevance, truth.matches, positives_count_1=False)


def _truth(part: Pass, gallery: Gallery, matches: Tensor) -> _Truth:
    fold = part.gallery
    relevance = cast("RelevanceBlocks", part.labels("i2t"))(None, None)  # there is a table
    described = (fold.image_of_text >= 0).nonzero()[:, 0]
    relevance[fold.image_of_text[described], described] = 1
    rows = torch.searchsorted(gallery.image_ids, fold.image_ids)
    columns = torch.searchsorted(cast("Tensor", gallery.text_ids), cast("Tensor", fold.text_ids))
    return _Truth(relevance, matches[rows][:, columns])


def _scores(part: Pass) -> Tensor:
    """All of them at once, copies scored once."""
    images, texts = part.gallery.sides("i2t")
    pair_scores = PairScores(part.setting.similarity, images, texts, part.setting.protocol.rows_per_block(len(texts)))
    scores = torch.empty(len(images), len(texts), dtype=images.dtype)
    with exact_arithmetic(images.device):
        for block in pair_scores.blocks:
            for rows, of_rows in pair_scores.score(block):
                scores[rows] = of_rows.to(scores.dtype)
    return scores


def _by_direction(metrics: RankedMetrics) -> Iterator[tuple[Direction, RankedMetrics]]:
    for direction in ("i2t", "t2i"):
        asked = {name: metric for name, metric in metrics.items() if metric.directions == (direction,)}
        if asked:
            yield direction, asked


def _sampled(truth: _Truth, direction: Direction, draw: torch.Generator) -> _Truth:
    """The truth about some of the images that ask, or of the texts."""
    dimension = 0 if direction == "i2t" else 1
    kept = sampled_queries(truth.matches.shape[dimension], draw)
    return _Truth(*(matrix.index_select(dimension, kept) for matrix in truth))
