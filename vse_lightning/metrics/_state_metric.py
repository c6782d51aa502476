"""What all metrics share: the state, its updates, and the pass that joins processes and computes once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from vse_lightning.distributed import Processes
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._embedding_lists import check_against, checked_batch, gather_states
from vse_lightning.metrics._shared_pass import Fingerprint, SharedPass
from vse_lightning.metrics._values import Value
from vse_lightning.ranking.gallery import STATES
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.report import Display
from vse_lightning.targets import Ids

Held = TypeVar("Held")


class ByReference(Generic[Held]):
    """Holds an object that a deep copy shares instead of copying: a host module's similarity, a table of labels."""

    def __init__(self, value: Held) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, object]) -> ByReference[Held]:
        return ByReference(self.value)


class HasOptions(nn.Module):
    """Keeps the options ``similarity`` and ``relevance`` as attributes also where they are modules."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("similarity", "relevance"):  # not to become a member, whose parameters would be the metric's
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


class StateMetric(HasOptions, Metric):
    """Base of all metrics here: lists of embeddings and ids, safe where a process saw nothing.

    Args:
        protocol: what competes.
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; ``None`` is the cosine.
        kwargs: of :class:`torchmetrics.Metric`.

    Attributes:
        name: what a collection calls the metric.
        display_name: what tables call it; default: the name.
        needs_all: whether the value exists only of the whole data set.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True

    name: str
    display_name: str
    needs_all: ClassVar[bool] = False

    image_embeds: list[Tensor]
    text_embeds: list[Tensor]
    image_ids: list[Tensor]
    text_image_ids: list[Tensor]
    text_features: list[Tensor]
    text_ids: list[Tensor]
    _forward_cache: Any

    def __init__(self, protocol: EvaluationProtocol, similarity: Similarity | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")
        self.compute_with_cache = False  # the shared pass remembers, and asks the other processes whether they do
        self.protocol = protocol
        self.shared_pass = SharedPass([self])
        self.similarity = similarity
        self._fingerprint: Fingerprint = (False, 0, ())  # of the state that a value is asked of

    @property
    def displays(self) -> dict[str, Display]:
        """How tables show the values, by what the metric calls them: "" where it has only one."""
        return {"": Display(getattr(self, "display_name", self.name))}

    @property
    def similarity(self) -> Similarity | None:
        """What scores the pairs; None is the cosine. Copies of the metric share it, so a host's method may be set."""
        return self._similarity.value

    @similarity.setter
    def similarity(self, similarity: Similarity | None) -> None:
        self._similarity = ByReference(similarity)
        self.shared_pass.forget()

    def update(
        self,
        image_embeds: Tensor,
        text_embeds: Tensor,
        image_ids: Ids,
        text_image_ids: Ids,
        *,
        text_features: Tensor | None = None,
        text_ids: Ids | None = None,
    ) -> None:
        """Add a batch.

        Images with an id seen before are dropped when the value is computed, and texts too if they have ids: several
        captions may repeat their picture, and distributed samplers repeat whole items.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            image_ids: ``(N,)`` integers or strings, in a tensor, an array or a list. An image without a text is a
                candidate, but no query.
            text_image_ids: ``(M,)`` the id of the image that each text describes; it may arrive in another batch. -1
                for none: such a text is a distractor, a candidate that is no query.
            text_features: ``(M, F)`` a sentence embedding of each text. The relevance of an image to a text is the best
                cosine between the text and one of the image's texts, negatives clipped to 0.
            text_ids: ``(M,)`` integers or strings; needed to find repeated texts, and by a relevance table.

        Raises:
            ValueError: if shapes, lengths or types are wrong or change, or an embedding is not finite.
        """
        added = checked_batch(image_embeds, text_embeds, image_ids, text_image_ids, text_features, text_ids)
        check_against(self.lists(), added)
        for name, rows in added.items():
            getattr(self, name).append(rows)

    def reset(self) -> None:
        """Forget all that was seen."""
        super().reset()
        self.shared_pass.forget()

    def lists(self) -> dict[str, list[Tensor]]:
        """The state by name."""
        return {state: getattr(self, state) for state in STATES}

    def _value(self) -> Value:
        """From the pass that this metric shares."""
        return self.shared_pass.value(self, self._fingerprint, self.metric_state, self.processes())

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
        self._fingerprint = should_sync, self._update_count, tuple(self.image_embeds)
        known = self.shared_pass.knows(self._fingerprint)
        if should_sync:
            # One that was updated must not wait for others that were not.
            known = self._everyone().all(known, self.device)
        try:
            if not known:
                self.shared_pass.forget()
                self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
            yield
        finally:
            self.unsync(should_unsync and self._is_synced)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the states of all processes meanwhile."""
        self.sync(self.dist_sync_fn, should_sync=self._to_sync)
        try:
            yield
        finally:
            self.unsync(self._is_synced)

    def processes(self) -> Processes:
        """The processes whose states have been joined in this one's, if any."""
        return self._everyone() if self._is_synced else Processes()

    def _everyone(self) -> Processes:
        # Whoever brings an own way to communicate does not want another one used.
        return Processes.of_group(self.process_group) if self.dist_sync_fn is None else Processes()

    def _copy_state_dict(self) -> dict[str, Tensor | list[Any]]:
        # Nothing writes into the tensors.
        return {name: list(tensors) for name, tensors in self.lists().items()}

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        group = process_group or self.process_group

        def all_gather(tensor: Tensor) -> list[Tensor]:
            if dist_sync_fn is gather_all_tensors:  # what torchmetrics hands on unless somebody brings another one
                return Processes.of_group(group).gather(tensor)
            return list(dist_sync_fn(tensor, group=group))

        for name, tensors in gather_states(self.lists(), all_gather, self.device).items():
            setattr(self, name, tensors)
