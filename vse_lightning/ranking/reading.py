"""What a metric tells the pass: which images and captions compete, and what is read of a ranking."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from vse_lightning.argument_types import require_types
from vse_lightning.checks import require, require_whole
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import Similarity
from vse_lightning.targets import LabelTable

ALL = sys.maxsize

PAIRS_AT_ONCE = 2**24
"""How many scores are held at a time unless told otherwise: 64 MiB."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a gallery is cut up, checked once for all metrics.

    Attributes:
        chunk_size: images whose scores are held at a time, at least 64; None: as many as make blocks of 2 ** 24 pairs.
        folds: the metric is the mean over this many consecutive folds of the images, each with its own gallery.
        captions_per_image: keep only the first captions of each image, among the texts and in the relevance.
    """

    chunk_size: int | None = None
    folds: int = 1
    captions_per_image: int | None = None

    def __post_init__(self) -> None:
        require_whole("folds", self.folds)
        for name, least in (("chunk_size", 64), ("captions_per_image", 1)):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), least)

    def rows_per_block(self, num_candidates: int) -> int:
        """How many queries to score at a time."""
        return self.chunk_size or max(64, PAIRS_AT_ONCE // num_candidates)


@dataclass(frozen=True)
class Reading:
    """How much of a :class:`~vse_lightning.functional.ranking.Ranking` a metric reads; ``a | b`` serves both.

    Attributes:
        positives: of how many of the query's best positives the rank is read; ``ALL`` means every one. Queries without
            a positive are left out.
        listed: how many of the best-scored candidates; ``ALL`` takes the whole list.
        ideal: how many of the largest relevances.
        exclude_positives: whether the query's own positives are taken out of its list.
        relevant_from: leave out queries to which nothing is relevant, or nothing as relevant as this.
    """

    positives: int = 0
    listed: int = 0
    ideal: int = 0
    exclude_positives: bool = False
    relevant_from: float | None = None

    def __post_init__(self) -> None:
        require_types(Reading.__init__, self, **vars(self))
        for name in ("positives", "listed", "ideal"):
            require_whole(name, getattr(self, name), least=0)
        contradiction = self.exclude_positives and self.positives > 0
        require(not contradiction, "exclude_positives leaves no positives to rank, got positives={}", self.positives)
        read = self.relevant_from is None or self.ideal > 0
        require(read, "relevant_from must come with ideal of at least 1, got {}", self.ideal)

    def __or__(self, other: Reading) -> Reading:
        return Reading(
            max(self.positives, other.positives),
            max(self.listed, other.listed),
            max(self.ideal, other.ideal),
            self.exclude_positives,
        )

    @property
    def graded(self) -> bool:
        """Whether relevance is read."""
        return bool(self.listed or self.ideal)

    @property
    def whole(self) -> bool:
        """Whether the whole list is read."""
        return ALL in (self.listed, self.ideal)

    def counted(self, ranking: Ranking) -> Tensor:
        """Which queries ``(Q,)`` of a ranking count."""
        counted = ranking.num_candidates > 0
        if self.positives:
            counted = ranking.num_positives > 0
        if self.relevant_from is None:
            return counted
        best = ranking.ideal[:, 0]
        return counted & (best > 0) & (best >= self.relevant_from)


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
