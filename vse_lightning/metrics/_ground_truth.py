"""What metrics share whose matches come from people or annotations instead of from the pairs of the data."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, cast

from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.similarity import Similarity, cosine_similarity
from vse_lightning.metrics._state_metric import StateMetric
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.judged_matches import Side
from vse_lightning.ranking.reading import EvaluationProtocol


class ValuesById(NamedTuple):
    """The values of single queries, with their ids."""

    ids: Tensor  # (Q,) of the queries, ascending
    values: Tensor  # (Q,)


class GroundTruthMetric(StateMetric):
    """Base of the metrics that know ids of COCO: means over queries, several of them.

    ``update`` takes ``image_ids`` and ``text_image_ids`` that are the ``cocoid`` of a Karpathy split file, and
    ``text_ids`` that are its ``sentid``. Of a part of the data set, such as a sanity check, there is no value.

    Args:
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        chunk_size: queries scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    needs_all = True

    def __init__(self, similarity: Similarity | None, chunk_size: int | None, **kwargs: Any) -> None:
        super().__init__(EvaluationProtocol(chunk_size), similarity, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """The values over all that was seen, on all processes.

        Raises:
            ValueError: if what was seen is not what the ground truth is about.
        """
        return cast("dict[str, Tensor]", self._value())

    def per_query(self) -> dict[str, ValuesById]:
        """What :meth:`compute` takes the means of, with the ids of the queries."""
        with self.joined():
            return self._query_values(Gallery.from_state(self.metric_state), self._scoring(None))

    def evaluate(self, gallery: Gallery, similarity: Similarity | None = None) -> dict[str, Tensor]:
        """The values of a gallery.

        Args:
            gallery: with ids of COCO.
            similarity: for a metric that has none of its own; default: cosine.
        """
        values = self._query_values(gallery, self._scoring(similarity))
        return {name: queries.values.double().mean().float() for name, queries in values.items()}

    def _scoring(self, similarity: Similarity | None) -> Similarity:
        own_or_given = similarity if self.similarity is None else self.similarity
        return cosine_similarity if own_or_given is None else own_or_given

    @abstractmethod
    def _query_values(self, gallery: Gallery, similarity: Similarity) -> dict[str, ValuesById]:
        """The values of the queries by the name of the metric."""


def sides_of(gallery: Gallery, metric: StateMetric) -> tuple[Side, Side]:
    """The images and the texts, by ascending id."""
    require(gallery.text_ids is not None, "{} needs text_ids in update, the sentid of COCO", type(metric).__name__)
    return Side(gallery.image_ids, gallery.image_embeds), Side(cast("Tensor", gallery.text_ids), gallery.text_embeds)


def queries_first(similarity: Similarity, direction: Direction) -> Similarity:
    """Maps embeddings of queries and of candidates to scores."""
    return similarity if direction == "i2t" else lambda texts, images: similarity(images, texts).T
