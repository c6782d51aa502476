"""What a metric reads of a ranking, so that one pass collects it for all metrics."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.ranking.evaluation_protocol import EvaluationProtocol
from vse_lightning.ranking.pair_scores import Similarity
from vse_lightning.targets import LabelTable

ALL = sys.maxsize


@dataclass(frozen=True)
class Reading:
    """How much of a :class:`~vse_lightning.functional.ranking.Ranking` a metric reads; ``a | b`` serves both.

    Attributes:
        positives: of how many of the query's best positives the rank is read; ``ALL`` means every one.
        listed: how many of the best-scored candidates.
        ideal: how many of the largest relevances.
    """

    positives: int = 0
    listed: int = 0
    ideal: int = 0

    def __or__(self, other: Reading) -> Reading:
        return Reading(
            max(self.positives, other.positives), max(self.listed, other.listed), max(self.ideal, other.ideal)
        )

    @property
    def graded(self) -> bool:
        """Whether relevance is read."""
        return bool(self.listed or self.ideal)


class RankingReader(Protocol):
    """What a pass over a gallery needs to know of a metric.

    Attributes:
        directions: whose queries are evaluated.
        reading: what is read of the ranking of each query.
        protocol: which images and texts compete.
        similarity: what scores the pairs, if the metric has one of its own.
        relevance: where graded labels come from, if the metric has a table of its own.
    """

    directions: tuple[Direction, ...]
    reading: Reading
    protocol: EvaluationProtocol
    similarity: Similarity | None
    relevance: LabelTable | None

    def query_values(self, ranking: Ranking) -> Tensor:
        """The values ``(Q, ...)`` of the queries of a ranking."""
