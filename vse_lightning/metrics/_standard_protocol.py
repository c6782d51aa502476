"""The metrics that papers on image-text retrieval report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vse_lightning.checks import require_whole
from vse_lightning.functional.directions import ACROSS, Direction, check_direction
from vse_lightning.functional.ndcg import Cutoff
from vse_lightning.metrics.average_precision import MAPAtR, RPrecision
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.metrics.coherent_score import CoherentScore
from vse_lightning.metrics.ndcg import RetrievalNDCG
from vse_lightning.metrics.rank_statistics import MeanRank, MedianRank
from vse_lightning.metrics.recall import RecallAtK, RSum


def standard_metrics(
    recall_ks: Sequence[int],
    ndcg_ks: Sequence[Cutoff],
    coherent_ks: Sequence[int],
    gain: str,
    rank_statistics: bool,
    average_precision: bool,
    directions: Sequence[Direction],
    **options: Any,
) -> list[RetrievalMetric]:
    """The metrics of :class:`~vse_lightning.metrics.RetrievalMetrics`, in the order of its keys."""
    check_cutoffs(recall_ks, ndcg_ks, coherent_ks)
    metrics: list[RetrievalMetric] = []
    for direction in directions:
        check_direction(direction)
        if direction != "i2i":  # no image matches another
            metrics += [RecallAtK(k, direction, **options) for k in recall_ks]
            if rank_statistics:
                metrics += [MedianRank(direction, **options), MeanRank(direction, **options)]
            if average_precision:
                metrics += [MAPAtR(direction, **options), RPrecision(direction, **options)]
        metrics += [RetrievalNDCG(k, direction, gain, **options) for k in ndcg_ks]
        metrics += [CoherentScore(k, direction, **options) for k in coherent_ks]
    if recall_ks and set(ACROSS) <= set(directions):
        metrics.append(RSum(recall_ks, **options))
    return metrics


def check_cutoffs(recall_ks: Sequence[int], ndcg_ks: Sequence[Cutoff], coherent_ks: Sequence[int]) -> None:
    """Refuse cut-offs below 1, and one candidate for the Coherent Score, whose order says nothing."""
    least = {"recall_ks": (recall_ks, 1), "ndcg_ks": (ndcg_ks, 1), "coherent_ks": (coherent_ks, 2)}
    for name, (cutoffs, smallest) in least.items():
        for k in cutoffs:
            if k != "relevant":
                require_whole(f"every entry of {name}", k, smallest)
