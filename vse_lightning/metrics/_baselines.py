"""What random scores and the labels themselves would get, as numbers beside those of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from vse_lightning.metrics._values import Ranked, has_queries, summary, why_not_graded
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery, State
from vse_lightning.ranking.random_and_ideal import baseline_values
from vse_lightning.targets import LabelTable


def baselines_of(
    metrics: Mapping[str, RetrievalMetric], state: State, relevance: LabelTable | None, *, partial: bool
) -> dict[str, dict[str, Tensor]]:
    """Values by name under ``"random"`` and ``"ideal"``, of the metrics that can be computed.

    Args:
        metrics: by name.
        state: of all processes.
        relevance: labels for the metrics that have none of their own.
        partial: whether more was to be seen: no folds, and metrics without a query are left out.
    """
    gallery = Gallery.from_state(state, partial)
    possible = {name: metric for name, metric in metrics.items() if not why_not_graded(metric, gallery, relevance)}
    with exact_arithmetic(gallery.image_embeds.device):
        random, ideal = baseline_values(gallery, possible, relevance, as_one_fold=partial)
    found: dict[str, dict[str, Tensor]] = {"random": {}, "ideal": {}}
    for name, metric in possible.items():
        if partial and not has_queries(ideal[name]):
            continue
        ranked = cast("Ranked", metric)
        found["random"][name] = torch.stack([summary(ranked, draw[name]) for draw in random]).mean()
        found["ideal"][name] = summary(ranked, ideal[name])
    return found
