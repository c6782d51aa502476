"""NDCG on graded relevance."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_one_of
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.gains import GAINS
from vse_lightning.functional.ndcg import Cutoff, check_ndcg_cutoff, ndcg_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import ALL, Reading


class RetrievalNDCG(RetrievalMetric):
    """Mean NDCG of the queries' k best candidates, as :func:`~vse_lightning.functional.ndcg_at_k` defines it.

    Args:
        k: cut-off; larger than the gallery means the whole gallery; ``"relevant"``: as many as the query has candidates
            of relevance above 0, as the EPIC-Kitchens challenge does (with the linear gain).
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, ``"i2i"`` (images rank the other images) or ``"t2t"``.
        gain: ``"exponential"`` or ``"linear"``.
        exclude_positives: leave the query's own positives out of its list: they hide how the others are ordered.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> metric = RetrievalNDCG(k=2)
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids, text_features=features)
        >>> metric.compute()
        tensor(0.8093)
    """

    @typed
    def __init__(
        self,
        k: Cutoff = 10,
        direction: Direction = "i2t",
        gain: str = "exponential",
        exclude_positives: bool = False,
        **options: Any,
    ) -> None:
        check_ndcg_cutoff(k)
        require_one_of("gain", gain, GAINS)
        super().__init__(**options)
        longest = k if isinstance(k, int) else ALL
        reading = Reading(listed=longest, ideal=longest, exclude_positives=exclude_positives)
        self._rank_in(direction, f"ndcg_at_{k}", f"NDCG@{k}", reading)
        self.k = k
        self.gain = gain

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return ndcg_of_ranking(ranking, self.k, self.gain)
