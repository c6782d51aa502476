"""Hierarchical average precision."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.functional._hierarchical_average_precision import hierarchical_average_precision_of_ranking
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import ALL, Reading


class HierarchicalAP(RetrievalMetric):
    """Mean of the queries' :func:`~vse_lightning.functional.hierarchical_average_precision` over the whole gallery.

    The whole list of every query is sorted twice: it costs more than the metrics that read its best places.

    Args:
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, ``"i2i"`` (images rank the other images) or ``"t2t"``.
        exclude_positives: leave the query's own positives out of its list: they hide how the others are ordered.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> metric, ids = HierarchicalAP(), torch.arange(3)
        >>> metric.update(images, images[[0, 2, 1]], image_ids=ids, text_image_ids=ids, text_features=features)
        >>> metric.compute()
        tensor(0.9120)
    """

    @typed
    def __init__(self, direction: Direction = "i2t", exclude_positives: bool = False, **options: Any) -> None:
        super().__init__(**options)
        reading = Reading(listed=ALL, exclude_positives=exclude_positives)
        self._rank_in(direction, "hierarchical_ap", "H-AP", reading)

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return hierarchical_average_precision_of_ranking(ranking)
