"""Mean relevance at each rank: the curve whose order Coherent Score measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.reading import Direction, Reading
from vse_lightning.metrics.retrieval_metric import RetrievalMetric
from vse_lightning.report import DIRECTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RelevanceByRank(NamedTuple):
    """What the queries of one direction retrieve, on average."""

    relevance: Tensor  # (R,) in [0, 1], at each rank from the first
    ideal: Tensor  # (R,) the same if all candidates were sorted by relevance


class RelevanceLists(RetrievalMetric):
    """Reads the relevance of the ``depth`` best candidates and the ideal one, as ``(Q, 2, R)``; no number by itself."""

    def __init__(self, depth: int, directions: Sequence[Direction], **options: Any) -> None:
        super().__init__(**options)
        self.name = "relevance_by_rank"
        self.directions = tuple(directions)
        self.reading = Reading(listed=depth, ideal=depth)

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return torch.stack([ranking.relevance, ranking.ideal], dim=1)


def draw(curves: Mapping[Direction, RelevanceByRank], label: str, axes: Sequence[Axes]) -> None:
    """Draw each direction into axes of its own, the ranks on a logarithmic scale.

    Args:
        curves: what to draw, by direction.
        label: where the relevance comes from.
        axes: one for each direction.
    """
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
