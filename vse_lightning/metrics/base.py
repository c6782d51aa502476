"""What the metrics share that rank a gallery and make one number of it."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.functional.directions import Direction, check_direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._state_metric import ByReference, StateMetric
from vse_lightning.metrics._values import values_per_query
from vse_lightning.ranking.reading import EvaluationProtocol, Reading
from vse_lightning.report import Display
from vse_lightning.targets import LabelTable


class RetrievalMetric(StateMetric):
    """Base of the image-text retrieval metrics: one number from all embeddings seen by ``update``.

    A subclass says what it reads of a query's candidate list (:attr:`reading`), what it makes of it
    (:meth:`query_values`) and, unless it is their mean, how the queries' values become one number (:meth:`summarise`).
    It is usable at once in ``RetrievalMetrics(extra=[...])``, by its :attr:`name`.

    Attributes:
        name: what the value is logged as, without the stage: ``i2t_recall_at_1``.
        display_name: what tables call it, without the direction: ``R@1``; default: the name.
        directions: whose queries are evaluated.
        reading: what is read of the ranking of each query: ``Reading(positives=1)`` the rank of its best match,
            ``Reading(listed=10, ideal=10)`` its ten best candidates with their relevance and the ten largest
            relevances; ``ALL`` reads everything, ``exclude_positives=True`` a list without the query's own matches.
        percent: whether tables show the value in percent.

    Args:
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        relevance: a :class:`~vse_lightning.relevance.RelevanceTable`; default: the ``text_features`` of ``update``.
        chunk_size: images scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs, and where
            whole lists of texts and images are read, the scores and relevance of up to 2 ** 27 pairs (1 GiB).
        folds: average over this many consecutive folds of the images by ascending id, each with its own gallery
            (COCO 1K: 5 folds of the 5,000 test images); texts without an image compete in every fold.
        captions_per_image: keep only the first captions of each image, in the gallery and in the relevance (1: the
            protocol of the Ladder Loss paper); default: all.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> class ReciprocalRank(RetrievalMetric):
        ...     name, directions, reading = "i2t_reciprocal_rank", ("i2t",), Reading(positives=1)
        ...
        ...     def query_values(self, ranking):
        ...         return 1 / ranking.positive_ranks[:, 0]
        >>> metric, embeds = ReciprocalRank(), torch.eye(3)
        >>> metric.update(embeds, embeds[[0, 2, 1]], image_ids=["a", "b", "c"], text_image_ids=["a", "b", "c"])
        >>> metric.compute()
        tensor(0.5556)
    """

    directions: tuple[Direction, ...]
    reading: Reading
    percent = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = _signature_with_options(cls)  # type: ignore[attr-defined]

    @typed
    def __init__(
        self,
        *,
        similarity: Similarity | None = None,
        relevance: LabelTable | None = None,
        chunk_size: int | None = None,
        folds: int = 1,
        captions_per_image: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(EvaluationProtocol(chunk_size, folds, captions_per_image), similarity, **kwargs)
        self.relevance = relevance

    def _rank_in(self, direction: Direction, name: str, display_name: str, reading: Reading) -> None:
        """Say what a metric of a single direction is called and reads."""
        check_direction(direction, matches=reading.positives > 0)
        self.directions, self.reading = (direction,), reading
        self.name, self.display_name = f"{direction}_{name}", display_name
        if reading.exclude_positives:
            self.name, self.display_name = f"{self.name}_without_positives", f"{display_name} without positives"

    @cached_property
    def graded(self) -> bool:
        """Whether the value depends on labels, which tables name beside it; a subclass may say so itself.

        By default as the reading does.
        """
        return self.reading.graded

    @property
    def displays(self) -> dict[str, Display]:
        """How tables show the value."""
        direction = self.directions[0] if len(self.directions) == 1 else ""
        name = getattr(self, "display_name", self.name.removeprefix(f"{direction}_"))
        return {"": Display(name, direction, self.graded, self.percent)}

    @abstractmethod
    def query_values(self, ranking: Ranking) -> Tensor:
        """The values ``(Q,)`` of the queries of a ranking."""

    def summarise(self, values: Mapping[Direction, Tensor]) -> Tensor:
        """One number from the values ``(Q,)`` of each direction; by default their mean, summed over the directions."""
        return torch.stack([of_direction.double().mean() for of_direction in values.values()]).sum()

    @property
    def relevance(self) -> LabelTable | None:
        """Where graded labels come from; None is the ``text_features`` given to :meth:`update`."""
        return self._relevance.value

    @relevance.setter
    def relevance(self, relevance: LabelTable | None) -> None:
        is_table = isinstance(relevance, LabelTable | None)
        require(is_table, "relevance must have a method block, as a RelevanceTable, got {!r}", relevance)
        self._relevance = ByReference(relevance)
        self.shared_pass.forget()

    def compute(self) -> Tensor:
        """The value over all that was seen, on all processes.

        Raises:
            MissingRelevanceError: if the metric is graded and there are no labels.
            ValueError: if a text describes an image never seen, an id stands for two embeddings, or there is no query.
        """
        return cast("Tensor", self._value()).to(self.device)

    def per_query(self) -> dict[Direction, Tensor]:
        """The values ``(Q,)`` that :meth:`compute` summarises, by direction.

        Image queries are ordered by ascending id; text queries likewise, or by image and arrival without ``text_ids``.
        """
        with self.joined():
            return values_per_query(self.metric_state, self, self.processes())


def _signature_with_options(cls: type[RetrievalMetric]) -> inspect.Signature:
    """What the class takes, with the options that it hands on spelled out, for ``help`` and whoever inspects."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]
    shared = list(inspect.signature(RetrievalMetric.__init__).parameters.values())[1:]
    kept = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    handed_on = shared if len(kept) < len(own) else []
    names = {parameter.name for parameter in kept}
    return inspect.Signature(kept + [parameter for parameter in handed_on if parameter.name not in names])
