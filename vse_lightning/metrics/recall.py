"""Recall at k, and the sum of recalls by which the field selects models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_whole
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.recall import Recall, recall_of_ranks
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import ALL, Reading


class RecallAtK(RetrievalMetric):
    """Share of queries with a positive among their k best candidates, a fraction.

    See :func:`~vse_lightning.functional.recall_at_k`.

    Args:
        k: cut-off; larger than the gallery means the whole gallery.
        direction: ``"i2t"`` (images rank texts), ``"t2i"``, or ``"t2t"`` (texts rank the other texts).
        recall: ``"any"``, one positive suffices, as the field reports it; ``"all"``, the share of the positives found.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> metric = RecallAtK(k=1)
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids)
        >>> metric.compute()
        tensor(0.3333)
    """

    percent = True

    @typed
    def __init__(self, k: int = 1, direction: Direction = "i2t", recall: Recall = "any", **options: Any) -> None:
        require_whole("k", k)
        super().__init__(**options)
        name, shown, ranks = ("recall", "R", 1) if recall == "any" else ("recall_of_all", "recall of all", ALL)
        self._rank_in(direction, f"{name}_at_{k}", f"{shown}@{k}", Reading(positives=ranks))
        self.k = k
        self.recall = recall

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        return recall_of_ranks(ranking.positive_ranks, ranking.num_positives, self.k, self.recall)


class RSum(RetrievalMetric):
    """Sum of the recalls at all ``ks`` in both directions, in percent: 0 to 600 for the usual three.

    Args:
        ks: cut-offs.
        options: of :class:`RetrievalMetric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> metric = RSum()
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids)
        >>> metric.compute()
        tensor(466.6667)
    """

    @typed
    def __init__(self, ks: Sequence[int] = (1, 5, 10), **options: Any) -> None:
        ks = tuple(ks)
        if not ks:
            raise ValueError("ks must name at least one cut-off")
        for k in ks:
            require_whole("k", k)
        super().__init__(**options)
        self.ks = ks
        self.directions = ("i2t", "t2i")
        self.name = self.display_name = "rsum"
        self.reading = Reading(positives=1)

    @override
    def query_values(self, ranking: Ranking) -> Tensor:
        recalls = [recall_of_ranks(ranking.positive_ranks, ranking.num_positives, k) for k in self.ks]
        return 100 * sum(recalls[1:], start=recalls[0])
