"""What metrics share whose matches come from people or annotations instead of from the pairs of the data."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, NamedTuple

from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vse_lightning.checks import require
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics.by_reference import ByReference
from vse_lightning.metrics.extended_matches import Side
from vse_lightning.metrics.gallery import first_of_each
from vse_lightning.metrics.pair_scores import Similarity
from vse_lightning.metrics.protocol import EvaluationProtocol
from vse_lightning.metrics.reading import Direction
from vse_lightning.metrics.state import checked_batch
from vse_lightning.metrics.state_metric import StateMetric


class QueryValues(NamedTuple):
    """The values of single queries."""

    ids: Tensor  # (Q,) of the queries, ascending
    values: Tensor  # (Q,)


class GroundTruthMetric(StateMetric):
    """Base of the metrics that know ids of COCO: their state, and means over queries as values.

    Args:
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        chunk_size: queries scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, similarity: Similarity | None, chunk_size: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = EvaluationProtocol(chunk_size)
        self._similarity = ByReference(similarity or cosine_similarity)

    def update(
        self, image_embeds: Tensor, text_embeds: Tensor, image_ids: Tensor, text_image_ids: Tensor, text_ids: Tensor
    ) -> None:
        """Add a batch, as to :class:`~vse_lightning.metrics.RetrievalMetric`, under the ids of COCO.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            image_ids: ``(N,)`` integers, the ``cocoid`` of a Karpathy split file.
            text_image_ids: ``(M,)`` likewise, of the image that each text describes.
            text_ids: ``(M,)`` integers, the ``sentid`` of a Karpathy split file.

        Raises:
            ValueError: if shapes, lengths or types are wrong or change, or an embedding is not finite.
        """
        batch = {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "image_ids": image_ids,
            "text_image_ids": text_image_ids,
            "text_ids": text_ids,
            "text_features": None,
        }
        for name, rows in checked_batch(batch, self.lists()).items():
            getattr(self, name).append(rows)

    def compute(self) -> dict[str, Tensor]:
        """The values over all that was seen, on all processes.

        Raises:
            ValueError: if what was seen is not what the ground truth is about.
        """
        return {name: queries.values.double().mean().float() for name, queries in self._query_values().items()}

    def per_query(self) -> dict[str, QueryValues]:
        """What :meth:`compute` takes the means of, with the ids of the queries."""
        with self.sync_context(should_sync=self._to_sync):
            return self._query_values()

    @abstractmethod
    def _query_values(self) -> dict[str, QueryValues]:
        """The values of the queries by the name of the metric, from the states of all processes."""

    def seen(self, name: Literal["image", "text"]) -> Side:
        """The images or texts seen, each once, by ascending id."""
        ids, embeds = getattr(self, f"{name}_ids"), getattr(self, f"{name}_embeds")
        require(len(ids) > 0, "there is nothing to evaluate: update saw no {}", name)
        all_ids = dim_zero_cat(ids)
        rows = first_of_each(all_ids)
        return Side(all_ids[rows], dim_zero_cat(embeds)[rows])

    def scoring(self, direction: Direction) -> Similarity:
        """Maps embeddings of queries and of candidates to scores."""
        similarity = self._similarity.value
        return similarity if direction == "i2t" else lambda texts, images: similarity(images, texts).T
