"""The standard protocol of image-text retrieval as one collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.checks import require
from vse_lightning.functional.query_lists import check_cutoff
from vse_lightning.metrics.average_precision import MAPAtR, RPrecision
from vse_lightning.metrics.coherent_score import CoherentScore
from vse_lightning.metrics.evaluation import MissingRelevanceError, computable, evaluate, query_values
from vse_lightning.metrics.gallery import State
from vse_lightning.metrics.ndcg import RetrievalNDCG
from vse_lightning.metrics.pair_scores import Similarity
from vse_lightning.metrics.rank_statistics import MeanRank, MedianRank
from vse_lightning.metrics.reading import Direction, check_direction
from vse_lightning.metrics.recall import RecallAtK, RSum
from vse_lightning.metrics.relevance import RelevanceBlocks, label_of
from vse_lightning.metrics.relevance_by_rank import RelevanceByRank, RelevanceLists, draw
from vse_lightning.metrics.retrieval_metric import RetrievalMetric
from vse_lightning.metrics.shared_pass import SharedPass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class RetrievalMetrics(MetricCollection):
    """Recall, rsum, NDCG and Coherent Score in both directions, computed in one pass over one state.

    Keys are ``i2t_recall_at_1``, ``t2i_ndcg_at_10``, ``i2t_coherent_score_at_100``, ``rsum`` and so on. ``update``
    takes the arguments of :meth:`RetrievalMetric.update`. Without relevance (neither ``relevance`` nor
    ``text_features``) the graded metrics are left out of :meth:`compute`.

    Args:
        recall_ks: cut-offs of the recalls, and of their sum.
        ndcg_ks: cut-offs of NDCG.
        coherent_ks: cut-offs of the Coherent Score.
        gain: of NDCG, ``"exponential"`` or ``"linear"``.
        rank_statistics: whether to add the median and mean rank.
        average_precision: whether to add MAP@R and R-Precision.
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``; default: cosine.
        relevance: a :class:`~vse_lightning.relevance.RelevanceTable`; default: the ``text_features`` of ``update``.
        chunk_size: images scored at a time, at least 64: bounds the memory; default: blocks of 2 ** 24 pairs.
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

    def __init__(
        self,
        recall_ks: Sequence[int] = (1, 5, 10),
        ndcg_ks: Sequence[int] = (10,),
        coherent_ks: Sequence[int] = (100,),
        gain: str = "exponential",
        rank_statistics: bool = False,
        average_precision: bool = False,
        similarity: Similarity | None = None,
        relevance: RelevanceBlocks | None = None,
        chunk_size: int | None = None,
        folds: int = 1,
        captions_per_image: int | None = None,
        directions: Sequence[Direction] = ("i2t", "t2i"),
        prefix: str | None = None,
        postfix: str | None = None,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {
            "similarity": similarity,
            "relevance": relevance,
            "chunk_size": chunk_size,
            "folds": folds,
            "captions_per_image": captions_per_image,
            **kwargs,
        }
        members: list[RetrievalMetric] = []
        for direction in directions:
            check_direction(direction)
            matches = direction != "i2i"  # no image matches another
            members += [RecallAtK(k, direction, **options) for k in recall_ks if matches]
            if rank_statistics and matches:
                members += [MedianRank(direction, **options), MeanRank(direction, **options)]
            if average_precision and matches:
                members += [MAPAtR(direction, **options), RPrecision(direction, **options)]
            members += [RetrievalNDCG(k, direction, gain, **options) for k in ndcg_ks]
            members += [CoherentScore(k, direction, **options) for k in coherent_ks]
        if recall_ks and {"i2t", "t2i"} <= set(directions):
            members.append(RSum(recall_ks, **options))
        named = {member.name: member for member in members}
        if len(named) < len(members) or not members:
            raise ValueError(
                "recall_ks, ndcg_ks, coherent_ks and directions must name each cut-off once, and not all be empty, "
                f"got {recall_ks}, {ndcg_ks}, {coherent_ks} and {directions}"
            )
        super().__init__(dict(named), prefix=prefix, postfix=postfix, compute_groups=[list(named)])
        for name in named:  # the base class sorts by name
            self._modules[name] = self._modules.pop(name)
        shared_pass = SharedPass(members)
        for member in members:
            member.shared_pass = shared_pass
        self._warned = False

    @property
    def similarity(self) -> Similarity | None:
        """What scores the pairs; None is the cosine. Setting it sets that of all metrics."""
        return self._leader.similarity

    @similarity.setter
    def similarity(self, similarity: Similarity | None) -> None:
        for metric in self._metrics().values():
            metric.similarity = similarity

    @property
    def relevance(self) -> RelevanceBlocks | None:
        """Where graded labels come from; None is the ``text_features``. Setting it sets that of all metrics."""
        return self._leader.relevance

    @relevance.setter
    def relevance(self, relevance: RelevanceBlocks | None) -> None:
        for metric in self._metrics().values():
            metric.relevance = relevance

    @property
    def relevance_label(self) -> str:
        """Name of the labels behind the graded values, to print beside them."""
        return label_of(self.relevance)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("similarity", "relevance"):  # a module must not become a member of the collection
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Add a batch and return the values of this batch alone, of this process alone."""
        self.update(*args, **kwargs)
        leader, members = self._leader, self._metrics()
        batch = {name: tensors[-1:] for name, tensors in leader.lists().items()}
        values = evaluate(batch, self._possible(members, batch, None))
        for name, value in values.items():
            members[name]._forward_cache = value
        return {self._set_name(name): value.to(leader.device) for name, value in values.items()}

    def compute(self) -> dict[str, Tensor]:
        """The value of every metric; without relevance those of the metrics that need none.

        Raises:
            MissingRelevanceError: if there is no relevance and all metrics need it.
            ValueError: as :meth:`RetrievalMetric.compute`.
        """
        values = {}
        left_out = []
        for name, metric in self._metrics().items():
            try:
                values[self._set_name(name)] = metric.compute()
            except MissingRelevanceError:
                left_out.append(name)
        if not values:
            self._leader.compute()
        self._warn_of(left_out)
        return values

    def compute_under(
        self, relevances: Sequence[RelevanceBlocks | None], similarity: Similarity | None = None, partial: bool = False
    ) -> list[dict[str, Tensor]]:
        """Compute under several label tables, gathering the processes' states once.

        Args:
            relevances: tables; None is the table of the metrics or else ``text_features``.
            similarity: instead of the metrics' own, for this call.
            partial: whether the gallery is not complete, so that folds are measured as one; to come.

        Returns:
            For the first table all values, for every other one only those that depend on it.

        Raises:
            ValueError: as :meth:`compute`.
        """
        members = self._metrics()
        graded = {name: metric for name, metric in members.items() if metric.needs_relevance}
        results = []
        leader = self._leader
        with leader.joined():
            state = leader.metric_state
            for place, relevance in enumerate(relevances):
                possible = self._possible(members if place == 0 else graded, state, relevance)
                values = evaluate(state, possible, relevance=relevance, similarity=similarity, workers=leader.workers())
                results.append({self._set_name(name): value.to(leader.device) for name, value in values.items()})
        return results

    def relevance_by_rank(self, depth: int = 100) -> dict[Direction, RelevanceByRank]:
        """Mean relevance of what is retrieved at each rank, and of the ideal order, by direction.

        Args:
            depth: how many ranks; at most the gallery.

        Raises:
            MissingRelevanceError: if there are no labels.
            ValueError: if ``depth`` is below 1, or as :meth:`compute`.
        """
        check_cutoff(depth)
        leader = self._leader
        directions = dict.fromkeys(direction for metric in self._metrics().values() for direction in metric.directions)
        lists = RelevanceLists(
            depth, list(directions), similarity=leader.similarity, relevance=leader.relevance, **vars(leader.protocol)
        )
        with leader.joined():
            values = query_values(leader.metric_state, lists, leader.workers())
        return {direction: RelevanceByRank(*of_queries.mean(dim=0)) for direction, of_queries in values.items()}

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
        try:
            from matplotlib import pyplot
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot draws with matplotlib: pip install "vse-lightning[plot]"') from error
        curves = self.relevance_by_rank(depth)
        if axes is None:
            size = (4.5 * len(curves), 3.4)
            axes = list(pyplot.subplots(1, len(curves), figsize=size, layout="constrained", squeeze=False)[1][0])
        require(len(axes) == len(curves), "axes must be one for each of {}, got {}", ", ".join(curves), len(axes))
        draw(curves, self.relevance_label, axes)
        return cast("Figure", axes[0].figure), axes

    @classmethod
    def of(cls, m):
        if not isinstance(m, MetricCollection):
            raise TypeError(f"retrieval_metrics must be a RetrievalMetrics, got {type(m).__name__}")
        return m

    @property
    def _leader(self) -> RetrievalMetric:
        return next(iter(self._metrics().values()))

    def _metrics(self) -> dict[str, RetrievalMetric]:
        return dict(self.items(keep_base=True, copy_state=False))  # type: ignore[arg-type]

    def _possible(
        self, metrics: dict[str, RetrievalMetric], state: State, relevance: RelevanceBlocks | None
    ) -> dict[str, RetrievalMetric]:
        possible = computable(metrics, state, relevance)
        self._warn_of([name for name in metrics if name not in possible])
        return possible

    def _compute_groups_create_state_ref(self, copy: bool = False) -> None:
        # Nothing writes into the state, so members need no copies of it however they are reached.
        super()._compute_groups_create_state_ref(copy=False)

    def _warn_of(self, left_out: Sequence[str]) -> None:
        if left_out and not self._warned:
            self._warned = True
            rank_zero_warn(
                f"{', '.join(left_out)} left out: they need graded relevance. Give update text_features, give the "
                "metrics a relevance table, or construct them with ndcg_ks=() and coherent_ks=()."
            )
