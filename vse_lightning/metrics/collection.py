"""The standard protocol of image-text retrieval as one collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor
from torchmetrics import MetricCollection

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_name
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ndcg import Cutoff
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._baselines import baselines_of
from vse_lightning.metrics._members import Metrics, flatten, joining, members_of, names_of
from vse_lightning.metrics._remarks import Remarks
from vse_lightning.metrics._shared_pass import SharedPass
from vse_lightning.metrics._standard_protocol import standard_metrics
from vse_lightning.metrics._state_metric import HasOptions, StateMetric
from vse_lightning.metrics._values import MissingRelevanceError, Value, evaluate_members
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.metrics.relevance_by_rank import RelevanceByRank, draw, relevance_by_rank
from vse_lightning.ranking.gallery import Gallery, is_empty
from vse_lightning.ranking.reading import EvaluationProtocol
from vse_lightning.report import Display
from vse_lightning.targets import LabelTable, label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Option = TypeVar("Option")


class RetrievalMetrics(HasOptions, MetricCollection):
    """Recall, rsum, NDCG and Coherent Score in both directions, computed in one pass over one state.

    Keys are ``i2t_recall_at_1``, ``t2i_ndcg_at_10``, ``i2t_coherent_score_at_100``, ``rsum`` and so on. ``update``
    takes the arguments of :meth:`RetrievalMetric.update`. Without relevance (neither ``relevance`` nor
    ``text_features``) the graded metrics are left out of :meth:`compute`.

    Args:
        recall_ks: cut-offs of the recalls, and of their sum.
        ndcg_ks: cut-offs of NDCG, ``"relevant"`` among them if you like.
        coherent_ks: cut-offs of the Coherent Score.
        extra: further metrics, of this package or your own subclasses of :class:`RetrievalMetric`, by their ``name``.
            They are copied; what they leave at its default (similarity, relevance, what competes) is the collection's.
        gain: of NDCG, ``"exponential"`` or ``"linear"``.
        rank_statistics: whether to add the median and mean rank.
        average_precision: whether to add MAP@R and R-Precision.
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        relevance: a :class:`~vse_lightning.relevance.RelevanceTable`; default: the ``text_features`` of ``update``.
        chunk_size: images scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs, and where
            whole lists of texts and images are read, the scores and relevance of up to 2 ** 27 pairs (1 GiB).
        folds: average over this many consecutive folds of the images by ascending id (COCO 1K: 5).
        captions_per_image: keep only the first captions of each image, in gallery and relevance; default: all.
        directions: add ``"i2i"`` or ``"t2t"`` to rank the other images for each image (graded metrics only) or the
            other texts for each text; ``rsum`` needs ``"i2t"`` and ``"t2i"``.
        prefix: before every key.
        postfix: after every key.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import torch
        >>> embeds, ids = torch.eye(3), torch.arange(3)
        >>> metrics = RetrievalMetrics(recall_ks=(1, 2), ndcg_ks=(), coherent_ks=())
        >>> metrics.update(embeds, embeds[[0, 2, 1]], image_ids=ids, text_image_ids=ids)
        >>> list(metrics.compute())
        ['i2t_recall_at_1', 'i2t_recall_at_2', 't2i_recall_at_1', 't2i_recall_at_2', 'rsum']
    """

    @typed
    def __init__(
        self,
        recall_ks: Sequence[int] = (1, 5, 10),
        ndcg_ks: Sequence[Cutoff] = (10,),
        coherent_ks: Sequence[int] = (100,),
        extra: Sequence[StateMetric] = (),
        gain: str = "exponential",
        rank_statistics: bool = False,
        average_precision: bool = False,
        similarity: Similarity | None = None,
        relevance: LabelTable | None = None,
        chunk_size: int | None = None,
        folds: int = 1,
        captions_per_image: int | None = None,
        directions: Sequence[Direction] = ("i2t", "t2i"),
        prefix: str | None = None,
        postfix: str | None = None,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"chunk_size": chunk_size, "folds": folds, "captions_per_image": captions_per_image}
        shared = {"similarity": similarity, "relevance": relevance, **options, **kwargs}
        cutoffs = tuple(recall_ks), tuple(ndcg_ks), tuple(coherent_ks)
        members: list[StateMetric] = [
            *standard_metrics(*cutoffs, gain, rank_statistics, average_precision, directions, **shared),
            *(
                joining(metric, similarity, relevance, EvaluationProtocol(**options), kwargs.get("process_group"))
                for metric in extra
            ),
        ]
        given = Counter(member.name for member in members)
        require(
            max(given.values(), default=0) == 1,
            "recall_ks, ndcg_ks, coherent_ks, directions and extra must name each metric once, and not all be empty, "
            "got {}",
            ", ".join(f"{name} {count} times" for name, count in given.items() if count > 1) or "nothing",
        )
        named = {member.name: member for member in members}
        super().__init__(dict(named), prefix=prefix, postfix=postfix, compute_groups=[list(named)])
        for name in named:  # the base class sorts by name
            self._modules[name] = self._modules.pop(name)
        shared_pass = SharedPass(members)
        for member in members:
            member.shared_pass = shared_pass
        self._names = names_of(named)
        values = [value for names in self._names.values() for value in names.values()]
        message = "metrics must have values of different names, got {}"
        require(len(set(values)) == len(values), message, ", ".join(values))
        self._remarks = Remarks()

    @classmethod
    def of(cls, metrics: Metrics) -> RetrievalMetrics:
        """A collection of other metrics, which share one state and one pass under the names that they have there.

        Args:
            metrics: a ``MetricCollection``, a mapping, or a sequence of metrics of this package or your own subclasses
                of :class:`RetrievalMetric`. They are copied; a ``RetrievalMetrics`` is returned as it is.

        Raises:
            TypeError: if there is another metric among them.
            ValueError: if a name is unfit for a logger.

        Example:
            >>> from vse_lightning.metrics import MedianRank, RecallAtK
            >>> metrics = RetrievalMetrics.of({"hits": RecallAtK(1), "place": MedianRank("t2i")})
            >>> list(metrics)
            ['hits', 'place']
        """
        if isinstance(metrics, RetrievalMetrics):
            return metrics
        members = []
        for name, metric in members_of(metrics).items():
            require_name("metrics", name)
            members.append(deepcopy(metric))
            members[-1].name = name
        affixes = (metrics.prefix, metrics.postfix) if isinstance(metrics, MetricCollection) else (None, None)
        return cls((), (), (), members, prefix=affixes[0], postfix=affixes[1])

    @property
    def similarity(self) -> Similarity | None:
        """What scores the pairs; None is the cosine, or that metrics differ. Setting it sets that of all metrics."""
        return _agreed([metric.similarity for metric in self._members().values()])

    @similarity.setter
    def similarity(self, similarity: Similarity | None) -> None:
        for metric in self._members().values():
            metric.similarity = similarity

    @property
    def relevance(self) -> LabelTable | None:
        """Where graded labels come from; None is the ``text_features``, or that metrics differ.

        Setting it sets that of all metrics.
        """
        ranked = list(self._ranked().values())
        graded = [metric for metric in ranked if metric.graded]
        return _agreed([metric.relevance for metric in graded or ranked])

    @relevance.setter
    def relevance(self, relevance: LabelTable | None) -> None:
        for metric in self._ranked().values():
            metric.relevance = relevance

    @property
    def displays(self) -> dict[str, Display]:
        """How tables show the values, by key."""
        return {
            self._set_name(self._names[name][inner]): display
            for name, metric in self._members().items()
            for inner, display in metric.displays.items()
        }

    @property
    def relevance_label(self) -> str:
        """Name of the labels behind the graded values, to print beside them."""
        return label_of(self.relevance)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch, as :meth:`RetrievalMetric.update` describes."""
        signature(StateMetric.update).bind(self, *args, **kwargs)  # the base class drops what it does not know
        super().update(*args, **kwargs)

    update.__signature__ = signature(StateMetric.update)  # type: ignore[attr-defined]

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Add a batch and return the values of this batch alone, as one fold, of this process alone."""
        self.update(*args, **kwargs)
        members = self._members()
        batch = {name: tensors[-1:] for name, tensors in self._leader.lists().items()}
        if is_empty(batch):
            return {}
        values, remedies = evaluate_members(members, Gallery.from_state(batch, partial=True), partial=True)
        self._remarks.on_labels(remedies)
        for name, value in values.items():
            members[name]._forward_cache = value
        return self._flat(values)

    def compute(self) -> dict[str, Tensor]:
        """The value of every metric; without relevance those of the metrics that need none.

        Raises:
            MissingRelevanceError: if there is no relevance and all metrics need it.
            ValueError: as :meth:`RetrievalMetric.compute`.
        """
        values: dict[str, Value] = {}
        remedies = {}
        for name, metric in self._members().items():
            try:
                values[name] = metric.compute()
            except MissingRelevanceError as error:
                remedies[name] = error.remedy
        if not values:
            self._leader.compute()
        self._remarks.on_labels(remedies)
        return self._flat(values)

    def compute_under(
        self,
        relevances: Sequence[LabelTable | None],
        similarity: Similarity | None = None,
        *,
        partial: bool = False,
    ) -> list[dict[str, Tensor]]:
        """Compute under several label tables, gathering the processes' states once.

        Args:
            relevances: tables for the graded metrics that have none of their own; None is the ``text_features``.
            similarity: for the metrics that have none of their own, for this call.
            partial: whether more was to be seen, as in a sanity check or under ``limit_val_batches``: folds are not
                formed, and what cannot be computed of a part (:class:`ECCVCaption`, :class:`PMRP`, a metric without a
                query) is left out. The first time, a warning says so.

        Returns:
            For the first table all values, for every other one only those that depend on it.

        Raises:
            ValueError: as :meth:`compute`.
        """
        members, leader = self._members(), self._leader
        dependent = {name: metric for name, metric in self._ranked().items() if _takes_labels(metric)}
        with leader.joined():
            state, processes = leader.metric_state, leader.processes()
            if partial and is_empty(state):
                self._remarks.on_part(members, [])
                return [{} for _ in relevances]
            gallery = Gallery.from_state(state, partial)
            results = []
            for place, relevance in enumerate(relevances):
                asked = dependent if place else members
                values, remedies = evaluate_members(
                    asked, gallery, relevance=relevance, similarity=similarity, processes=processes, partial=partial
                )
                self._remarks.on_labels(remedies)
                if partial:
                    self._remarks.on_part(asked, [*values, *remedies])
                results.append(self._flat(values))
        return results

    def baselines(self, relevance: LabelTable | None = None, *, partial: bool = False) -> dict[str, dict[str, float]]:
        """What random scores, and the labels themselves as scores, would get on the same gallery.

        A graded value means little without: under some labels random scores reach an NDCG of 0.8. Both are means over a
        seeded sample of the queries, which rank the whole gallery: of more than 64, one in 40, but at least 64;
        random scores are drawn three times. Metrics that need labels and have none are left out, and so are those that
        rank nothing (:class:`ECCVCaption`, :class:`PMRP`). Without labels, the ideal is that matches come first.

        Args:
            relevance: labels for the graded metrics that have none of their own.
            partial: whether more was to be seen, as for :meth:`compute_under`.

        Returns:
            Values by key under ``"random"`` and ``"ideal"``.

        Raises:
            ValueError: as :meth:`compute`.
        """
        leader = self._leader
        with leader.joined():
            found = baselines_of(self._ranked(), leader.metric_state, relevance, partial=partial)
        return {
            kind: {name: float(value) for name, value in self._flat(values).items()} for kind, values in found.items()
        }

    def relevance_by_rank(self, depth: int = 100) -> dict[Direction, RelevanceByRank]:
        """Mean relevance of what is retrieved at each rank, and of the ideal order, by direction.

        Args:
            depth: how many ranks; at most the gallery.

        Raises:
            MissingRelevanceError: if there are no labels.
            ValueError: if ``depth`` is below 1, or as :meth:`compute`.
        """
        return relevance_by_rank(self._ranked(), depth)

    def plot(self, depth: int = 100, axes: Sequence[Axes] | None = None) -> tuple[Figure, Sequence[Axes]]:  # type: ignore[override]
        """Draw relevance by rank against the ideal order: Coherent Score is high where the curve falls steadily.

        A single metric still plots its value, as metrics of torchmetrics do.

        Args:
            depth: how many ranks, drawn on a logarithmic scale.
            axes: where to draw each direction; default: a new figure.

        Returns:
            The figure and its axes.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
            ValueError: as :meth:`relevance_by_rank`, or if there are not as many ``axes`` as directions.
        """
        require_extra("plot", "plot", "matplotlib")  # before the pass
        return draw(self.relevance_by_rank(depth), self.relevance_label, axes)

    @property
    def _leader(self) -> StateMetric:
        return next(iter(self._members().values()))

    def _members(self) -> dict[str, StateMetric]:
        return dict(self.items(keep_base=True, copy_state=False))  # type: ignore[arg-type]

    def _ranked(self) -> dict[str, RetrievalMetric]:
        return {name: metric for name, metric in self._members().items() if isinstance(metric, RetrievalMetric)}

    def _flat(self, values: Mapping[str, Value]) -> dict[str, Tensor]:
        device = self._leader.device
        return {self._set_name(name): value.to(device) for name, value in flatten(values, self._names).items()}

    def _compute_groups_create_state_ref(self, copy: bool = False) -> None:
        # Nothing writes into the state, so members need no copies of it however they are reached.
        super()._compute_groups_create_state_ref(copy=False)


def _takes_labels(metric: RetrievalMetric) -> bool:
    return metric.graded and metric.relevance is None


def _agreed(options: Sequence[Option | None]) -> Option | None:
    """What all have in common, or None."""
    same = bool(options) and all(option is options[0] for option in options)
    return options[0] if same else None
