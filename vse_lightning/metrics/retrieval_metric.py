"""What all metrics share: the state, its checks, and the pass that computes them."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vse_lightning.functional.ranking import Ranking
from vse_lightning.metrics.by_reference import ByReference
from vse_lightning.metrics.evaluation import query_values
from vse_lightning.metrics.pair_scores import Similarity
from vse_lightning.metrics.protocol import EvaluationProtocol
from vse_lightning.metrics.reading import Direction, Reading
from vse_lightning.metrics.relevance import RelevanceBlocks
from vse_lightning.metrics.shared_pass import Fingerprint, SharedPass
from vse_lightning.metrics.state import checked_batch
from vse_lightning.metrics.state_metric import StateMetric
from vse_lightning.metrics.workers import Workers


class RetrievalMetric(StateMetric):
    """Base of the image-text retrieval metrics: one number from all embeddings seen by ``update``.

    A subclass says what it reads of a query's candidate list (:attr:`reading`), what it makes of it
    (:meth:`query_values`) and, unless it is their mean, how the queries' values become one number (:meth:`summarise`).

    Attributes:
        name: what the value is logged as, without the stage: ``i2t_recall_at_1``.
        directions: whose queries are evaluated.
        reading: what is read of the ranking of each query.

    Args:
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        relevance: a :class:`~vse_lightning.relevance.RelevanceTable`; default: the ``text_features`` of ``update``.
        chunk_size: images scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
        folds: average over this many consecutive folds of the images by ascending id, each with its own gallery
            (COCO 1K: 5 folds of the 5,000 test images).
        captions_per_image: keep only the first captions of each image, in the gallery and in the relevance (1: the
            protocol of the Ladder Loss paper); default: all.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if an argument is out of its range.
    """

    higher_is_better = True

    name: str
    directions: tuple[Direction, ...]
    reading: Reading
    _forward_cache: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = _signature_with_options(cls)  # type: ignore[attr-defined]

    def __init__(
        self,
        *,
        similarity: Similarity | None = None,
        relevance: RelevanceBlocks | None = None,
        chunk_size: int | None = None,
        folds: int = 1,
        captions_per_image: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.compute_with_cache = False  # the shared pass remembers, and asks the other processes whether they do
        self.protocol = EvaluationProtocol(chunk_size, folds, captions_per_image)
        self.shared_pass = SharedPass([self])
        self.similarity = similarity
        self.relevance = relevance
        self._fingerprint: Fingerprint | None = None

    @property
    def needs_relevance(self) -> bool:
        """Whether the metric is graded."""
        return self.reading.graded

    @abstractmethod
    def query_values(self, ranking: Ranking) -> Tensor:
        """The values ``(Q,)`` of the queries of a ranking."""

    def summarise(self, values: Mapping[Direction, Tensor]) -> Tensor:
        """One number from the values ``(Q,)`` of each direction; by default their mean, summed over the directions."""
        return torch.stack([of_direction.double().mean() for of_direction in values.values()]).sum()

    @property
    def similarity(self) -> Similarity | None:
        """What scores the pairs; None is the cosine. Copies of the metric share it, so a host's method may be set."""
        return self._similarity.value

    @similarity.setter
    def similarity(self, similarity: Similarity | None) -> None:
        self._similarity = ByReference(similarity)
        self.shared_pass.forget()

    @property
    def relevance(self) -> RelevanceBlocks | None:
        """Where graded labels come from; None is the ``text_features`` given to :meth:`update`."""
        return self._relevance.value

    @relevance.setter
    def relevance(self, relevance: RelevanceBlocks | None) -> None:
        if relevance is not None and not hasattr(relevance, "block"):
            raise ValueError(f"relevance must have a method block, as a RelevanceTable, got {relevance!r}")
        self._relevance = ByReference(relevance)
        self.shared_pass.forget()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("similarity", "relevance"):  # a module must not become a submodule of the metric
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def update(
        self,
        image_embeds: Tensor,
        text_embeds: Tensor,
        image_ids: Tensor,
        text_image_ids: Tensor,
        text_features: Tensor | None = None,
        text_ids: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Images with an id seen before are dropped when the value is computed, and texts too if they have ids: several
        captions may repeat their picture, and distributed samplers repeat whole items.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            image_ids: ``(N,)`` integers.
            text_image_ids: ``(M,)`` the id of the image that each text describes; it may arrive in another batch.
            text_features: ``(M, F)`` a sentence embedding of each text. The relevance of an image to a text is the best
                cosine between the text and one of the image's texts, negatives clipped to 0.
            text_ids: ``(M,)`` integers; needed to find repeated texts, and by a relevance table.

        Raises:
            ValueError: if shapes, lengths or types are wrong or change, or an embedding is not finite.
        """
        batch = {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "image_ids": image_ids,
            "text_image_ids": text_image_ids,
            "text_features": text_features,
            "text_ids": text_ids,
        }
        added = checked_batch(batch, self.lists())
        widths = added["image_embeds"].shape[1], added["text_embeds"].shape[1]
        if self.similarity is None and widths[0] != widths[1]:
            raise ValueError(
                f"image_embeds and text_embeds must have the same width for the cosine, got {widths[0]} and {widths[1]}"
            )
        for name, rows in added.items():
            getattr(self, name).append(rows)

    def compute(self) -> Tensor:
        """The value over all that was seen, on all processes.

        Raises:
            ValueError: if a text describes an image never seen, an image has no text, or a graded metric has no labels.
        """
        fingerprint = self._fingerprint or self._take_fingerprint(synced=False)
        return self.shared_pass.value(self, fingerprint, self.metric_state, self.workers()).to(self.device)

    def per_query(self) -> dict[Direction, Tensor]:
        """The values ``(Q,)`` that :meth:`compute` summarises, by direction.

        Image queries are ordered by ascending id; text queries likewise, or by image and arrival without ``text_ids``.
        """
        with self.joined():
            return query_values(self.metric_state, self, self.workers())

    def reset(self) -> None:
        """Forget all that was seen."""
        super().reset()
        self.shared_pass.forget()

    @contextmanager
    def sync_context(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> Iterator[None]:
        """Join the states of all processes meanwhile, unless all of them know the values for their state."""
        available = distributed_available or self.distributed_available_fn
        should_sync = should_sync and available()
        self._fingerprint = self._take_fingerprint(should_sync)
        known = self.shared_pass.knows(self._fingerprint)
        if should_sync:
            # One that was updated must not wait for others that were not.
            known = self._workers().all(known, self.device)
        try:
            if not known:
                self.shared_pass.forget()
                self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
            yield
        finally:
            self._fingerprint = None
            self.unsync(should_unsync and self._is_synced)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the states of all processes meanwhile."""
        self.sync(self.dist_sync_fn, should_sync=self._to_sync)
        try:
            yield
        finally:
            self.unsync(self._is_synced)

    def _copy_state_dict(self) -> dict[str, Tensor | list[Any]]:
        # Nothing writes into the tensors.
        return {name: list(tensors) for name, tensors in self.lists().items()}

    def workers(self) -> Workers:
        """The processes whose states have been joined in this one's, if any."""
        return self._workers() if self._is_synced else Workers()

    def _workers(self) -> Workers:
        # Whoever brings an own way to communicate does not want another one used.
        return Workers.of_group(self.process_group) if self.dist_sync_fn is None else Workers()

    def _take_fingerprint(self, synced: bool) -> Fingerprint:
        return synced, self._update_count, tuple(self.image_embeds)


def _signature_with_options(cls: type[RetrievalMetric]) -> inspect.Signature:
    """What the class takes, with the options that it hands on spelled out, for ``help`` and whoever inspects."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]
    shared = list(inspect.signature(RetrievalMetric.__init__).parameters.values())[1:]
    kept = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    return inspect.Signature(kept + shared if len(kept) < len(own) else kept)
