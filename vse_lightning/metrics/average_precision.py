"""Mean average precision, whole or at R, and R-Precision, for galleries in which a query has several positives."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_positive, require_share
from vse_lightning.functional._average_precision import (
    average_precision_of_counts,
    average_precision_of_ranks,
    average_precision_of_sorted,
    r_precision_of_ranks,
)
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import ALL, Reading


class MeanAveragePrecision(RetrievalMetric):
    """Mean of the queries' :func:`~vse_lightning.functional.average_precision` over the whole gallery.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        positive_threshold: candidates of at least this relevance count as positives, which makes the metric graded;
            ``"i2i"`` then works too. Default: the matches.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> metric = MeanAveragePrecision()
        >>> images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0], [0.2, 1.0]])
        >>> metric.update(images, texts, image_ids=torch.arange(2), text_image_ids=torch.tensor([0, 1, 1, 0]))
        >>> metric.compute()
        tensor(0.8333)
    """

    @typed
    def __init__(self, direction: Direction = "i2t", positive_threshold: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        if positive_threshold is None:
            self._rank_in(direction, "map", "mAP", Reading(positives=ALL))
        else:
            require_share("positive_threshold", positive_threshold)
            require_positive("positive_threshold", positive_threshold)
            shown = f"{positive_threshold:g}"
            reading = Reading(listed=ALL, ideal=1, relevant_from=positive_threshold)
            self._rank_in(direction, f"map_from_{shown.replace('.', '_')}", f"mAP from {shown}", reading)
        self.positive_threshold = positive_threshold

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        if self.positive_threshold is None:
            return average_precision_of_counts(ranking.ahead, ranking.alongside, ranking.num_positives)
        return average_precision_of_sorted(ranking.scores, ranking.relevance >= self.positive_threshold)


class MAPAtR(RetrievalMetric):
    """Mean of the queries' :func:`~vse_lightning.functional.average_precision_at_r`.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> metric = MAPAtR()
        >>> images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0], [0.2, 1.0]])
        >>> metric.update(images, texts, image_ids=torch.arange(2), text_image_ids=torch.tensor([0, 1, 1, 0]))
        >>> metric.compute()
        tensor(0.5000)
    """

    @typed
    def __init__(self, direction: Direction = "i2t", **options: Any) -> None:
        super().__init__(**options)
        self._rank_in(direction, "map_at_r", "mAP@R", Reading(positives=ALL))

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return average_precision_of_ranks(ranking.positive_ranks, ranking.num_positives)


class RPrecision(RetrievalMetric):
    """Mean of the queries' :func:`~vse_lightning.functional.r_precision`.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> metric = RPrecision()
        >>> images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0], [0.2, 1.0]])
        >>> metric.update(images, texts, image_ids=torch.arange(2), text_image_ids=torch.tensor([0, 1, 1, 0]))
        >>> metric.compute()
        tensor(0.5000)
    """

    @typed
    def __init__(self, direction: Direction = "i2t", **options: Any) -> None:
        super().__init__(**options)
        self._rank_in(direction, "r_precision", "R-Precision", Reading(positives=ALL))

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return r_precision_of_ranks(ranking.positive_ranks, ranking.num_positives)
