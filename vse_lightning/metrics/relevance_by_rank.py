"""Mean relevance at each rank: the curve whose order Coherent Score measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from vse_lightning.checks import require, require_whole
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._values import values_per_query
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import EvaluationProtocol, Reading
from vse_lightning.report import DIRECTIONS
from vse_lightning.targets import LabelTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class RelevanceByRank(NamedTuple):
    """What the queries of one direction retrieve, on average."""

    relevance: Tensor  # (R,) in [0, 1], at each rank from the first
    ideal: Tensor  # (R,) the same if all candidates were sorted by relevance


@dataclass
class RelevanceLists:
    """Reads the relevance of each query's best candidates and the ideal one, as ``(Q, 2, R)``."""

    directions: tuple[Direction, ...]
    reading: Reading
    protocol: EvaluationProtocol
    similarity: Similarity | None
    relevance: LabelTable | None
    name: str = "relevance_by_rank"

    def query_values(self, ranking: Ranking) -> Tensor:
        """Relevance ``(Q, 2, R)``, retrieved and ideal."""
        return torch.stack([ranking.relevance, ranking.ideal], dim=1)


def relevance_by_rank(metrics: Mapping[str, RetrievalMetric], depth: int) -> dict[Direction, RelevanceByRank]:
    """Read it in the directions of metrics that share a state, by the protocol and labels of the first of them."""
    require_whole("depth", depth)
    require(len(metrics) > 0, "relevance_by_rank needs a metric that ranks, got none")
    leader = next(iter(metrics.values()))
    graded = next((metric for metric in metrics.values() if metric.graded), leader)
    directions = dict.fromkeys(direction for metric in metrics.values() for direction in metric.directions)
    reading = Reading(listed=depth, ideal=depth)
    lists = RelevanceLists(tuple(directions), reading, leader.protocol, leader.similarity, graded.relevance)
    with leader.joined():
        values = values_per_query(leader.metric_state, lists, leader.processes())
    return {direction: RelevanceByRank(*of_queries.mean(dim=0)) for direction, of_queries in values.items()}


def draw(
    curves: Mapping[Direction, RelevanceByRank], label: str, axes: Sequence[Axes] | None
) -> tuple[Figure, Sequence[Axes]]:
    """Draw each direction into axes of its own, the ranks on a logarithmic scale.

    Args:
        curves: what to draw, by direction.
        label: where the relevance comes from.
        axes: one for each direction; None: a new figure.

    Returns:
        The figure and its axes.

    Raises:
        ValueError: if there are not as many ``axes`` as directions.
    """
    from matplotlib import pyplot

    if axes is None:
        size = (4.5 * len(curves), 3.4)
        axes = list(pyplot.subplots(1, len(curves), figsize=size, layout="constrained", squeeze=False)[1][0])
    require(len(axes) == len(curves), "axes must be one for each of {}, got {}", ", ".join(curves), len(axes))
    for ax, (direction, curve) in zip(axes, curves.items(), strict=True):
        ranks = range(1, len(curve.relevance) + 1)
        ax.plot(ranks, curve.ideal.cpu(), color="0.6", linestyle="--", label="ideal order")
        ax.plot(ranks, curve.relevance.cpu(), color="#0d8076", linewidth=2, label="retrieved")
        ax.set(title=DIRECTIONS[direction], xlabel="rank", xscale="log", ylim=(0, 1.02), xlim=(1, max(2, len(ranks))))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(visible=True, color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"mean relevance\n({label})")
    axes[0].legend(frameon=False)
    return cast("Figure", axes[0].figure), axes
