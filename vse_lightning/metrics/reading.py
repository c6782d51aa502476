"""What a metric reads of a ranking, so that one pass collects it for all metrics."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, get_args

Direction = Literal["i2t", "t2i", "i2i", "t2t"]
"""Image queries that rank texts, text queries that rank images, or either that ranks all others of its kind."""

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


def check_direction(direction: str, matches: bool = False) -> None:
    """Refuse a name that is no direction, or one in which there are no ``matches`` if a metric counts them."""
    known = ("i2t", "t2i", "t2t") if matches else get_args(Direction)
    if direction not in known:
        reason = ", where no image matches another: NDCG and Coherent Score are graded" if direction == "i2i" else ""
        raise ValueError(f"direction must be one of {', '.join(known)}, got {direction!r}{reason}")
