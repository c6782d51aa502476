"""What a metric reads of a ranking, so that one pass collects it for all metrics."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

Direction = Literal["i2t", "t2i"]
"""Image queries that rank texts, or text queries that rank images."""

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


def check_direction(direction: str) -> None:
    """Refuse a name that is no direction."""
    if direction not in ("i2t", "t2i"):
        raise ValueError(f"direction must be 'i2t' or 't2i', got {direction!r}")
