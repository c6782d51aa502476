"""Coherent Score."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_whole
from vse_lightning.functional._kendall_tau import coherent_score_of_ranking
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import Reading


class CoherentScore(RetrievalMetric):
    """Mean Kendall tau-b of score and relevance over the k best candidates of each query.

    As :func:`~vse_lightning.functional.coherent_score` defines it.

    Args:
        k: cut-off, at least 2: one candidate has no order; larger than the gallery means the whole gallery.
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, ``"i2i"`` (images rank the other images) or ``"t2t"``.
        exclude_positives: leave the query's own positives out of its list: they hide how the others are ordered.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> texts, ids = images[[0, 2, 1]], torch.arange(3)
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> metric = CoherentScore()
        >>> metric.update(images, texts, image_ids=ids, text_image_ids=ids, text_features=features)
        >>> metric.compute()
        tensor(0.1111)
    """

    @typed
    def __init__(
        self, k: int = 100, direction: Direction = "i2t", exclude_positives: bool = False, **options: Any
    ) -> None:
        require_whole("k", k, least=2)
        super().__init__(**options)
        reading = Reading(listed=k, exclude_positives=exclude_positives)
        self._rank_in(direction, f"coherent_score_at_{k}", f"CS@{k}", reading)
        self.k = k

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return coherent_score_of_ranking(ranking, self.k)
