"""Normalised cumulative semantic score."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_whole
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ndcg import cumulative_semantic_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import Reading


class CumulativeSemantic(RetrievalMetric):
    """Mean NCS@k: how relevant the k best candidates are besides the query's own positives, which are left out.

    As :func:`~vse_lightning.functional.cumulative_semantic` defines it. A query to which nothing else is relevant does
    not count.

    Args:
        k: cut-off; larger than the gallery means the whole gallery.
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, ``"i2i"`` (images rank the other images) or ``"t2t"``.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> metric, ids = CumulativeSemantic(k=1), torch.arange(3)
        >>> metric.update(images, images[[0, 2, 1]], image_ids=ids, text_image_ids=ids, text_features=features)
        >>> metric.compute()
        tensor(0.6667)
    """

    @typed
    def __init__(self, k: int = 10, direction: Direction = "i2t", **options: Any) -> None:
        require_whole("k", k)
        super().__init__(**options)
        reading = Reading(listed=k, ideal=k, exclude_positives=True, relevant_from=0.0)
        self._rank_in(direction, f"cumulative_semantic_at_{k}", f"NCS@{k}", reading)
        self.name, self.display_name = f"{direction}_cumulative_semantic_at_{k}", f"NCS@{k}"  # as it always does
        self.k = k

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return cumulative_semantic_of_ranking(ranking, self.k)
