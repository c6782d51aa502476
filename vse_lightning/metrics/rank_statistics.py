"""Median and mean rank of the best positive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import Reading


class MeanRank(RetrievalMetric):
    """Mean rank of each query's best positive, from 1, as :func:`~vse_lightning.functional.ranks` defines it.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> metric = MeanRank()
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids)
        >>> metric.compute()
        tensor(2.3333)
    """

    higher_is_better = False

    @typed
    def __init__(self, direction: Direction = "i2t", **options: Any) -> None:
        super().__init__(**options)
        self._rank_in(direction, "mean_rank", "mean rank", Reading(positives=1))

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return ranking.positive_ranks[:, 0]


class MedianRank(RetrievalMetric):
    """Median rank of each query's best positive; the mean of the two middle ones for an even number of queries.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> metric = MedianRank()
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids)
        >>> metric.compute()
        tensor(3.)
    """

    higher_is_better = False

    @typed
    def __init__(self, direction: Direction = "i2t", **options: Any) -> None:
        super().__init__(**options)
        self._rank_in(direction, "median_rank", "median rank", Reading(positives=1))

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return ranking.positive_ranks[:, 0]

    @override
    def summarise(self, values: Mapping[Direction, Tensor]) -> Tensor:
        (ranks,) = values.values()
        ordered = ranks.sort().values
        middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return (middle[0] + middle[1]).double() / 2
