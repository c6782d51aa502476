"""Retrieval metrics for a LightningModule that exists already."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torchmetrics import MetricCollection

from vse_lightning.checks import require
from vse_lightning.distributed import process_count, sum_over_processes
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins.batch.returned_embeddings import EmbeddingPair
from vse_lightning.mixins.batch.step import count_pairs, embeddings_and_ids, forget_pairs, pairs_seen, step_of
from vse_lightning.mixins.host.extension import Extension, HostFirst
from vse_lightning.mixins.host.hooks import RetrievalHooks, configure, host_arguments, refuse_assigned_step
from vse_lightning.mixins.host.lightning_internals import trainer_of
from vse_lightning.mixins.host.running_evaluation import (
    is_partial,
    loader_count,
    loader_names,
    warn_of_copies,
    warn_of_repeats,
)
from vse_lightning.targets import LabelTable, RetrievalTargets, label_of


def _has_metrics(host: Any) -> bool:
    return host.__dict__.get("_retrieval_metrics_of_loaders") is not None


def _evaluation_step(stage: str, self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """The host's step, then an update of the metrics with the same embeddings."""
    loader = kwargs.get("dataloader_idx", args[1] if len(args) > 1 else 0)
    with step_of(self, batch, "test_step" if stage == "test" else "validation_step") as step:
        output = None
        if host is not None:
            with step.host_running():
                output = host(batch, *args, **kwargs)
        if not step.finished:
            step.finish()
            embeds = step.embeddings(output, supplied=host is None)
            targets = step.resolved(embeds, pairs_seen(self, loader))
            if step.targets.image_ids is None:
                self.__dict__.setdefault("_retrieval_unnamed", set()).add(loader)
            if targets.text_ids is None:
                warn_of_repeats(self, stage, loader)
            _update(self, loader, embeds, targets)
    return output


def _evaluation_signature(self: Any, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    """Retrieval metrics of the batch."""


def _on_epoch_start(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
    for metrics in self._retrieval_metrics_of_loaders.values():
        metrics.reset()
    self._retrieval_metrics_of_loaders.clear()
    forget_pairs(self)
    self.__dict__["_retrieval_table"] = None
    return host(*args, **kwargs)


def _on_epoch_end(stage: str, self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
    loaders = range(loader_count(self, stage)) or sorted(self._retrieval_metrics_of_loaders)
    names = loader_names(self, len(loaders))
    for loader in loaders:
        self.__dict__["_retrieval_source"] = names[loader] if names else ""
        prefix = f"{names[loader]}_" if names and names[loader] else ""
        _log_metrics(self, stage, loader, prefix, "" if names or len(loaders) == 1 else f"/dataloader_idx_{loader}")
    self.__dict__.pop("_retrieval_source", None)  # whoever asks for labels afterwards means the target's
    return host(*args, **kwargs)


def _predict_step(self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """The host's step, or embeddings and ids where it has none."""
    if host is not None:
        return host(batch, *args, **kwargs)
    return embeddings_and_ids(self, batch, kwargs.get("dataloader_idx", args[1] if len(args) > 1 else 0))


def _predict_signature(self: Any, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    """Embeddings and ids of the batch."""


def _on_predict_epoch_start(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
    forget_pairs(self)
    return host(*args, **kwargs)


def _update(self: Any, loader: int, embeds: EmbeddingPair, targets: RetrievalTargets) -> None:
    count_pairs(self, loader, len(embeds[0]))
    if isinstance(targets.relevance, LabelTable):
        self.__dict__["_retrieval_table"] = targets.relevance
    image_ids, text_image_ids = targets.known_ids()
    _metrics_of(self, loader).update(
        *embeds, image_ids, text_image_ids, text_features=targets.text_features, text_ids=targets.text_ids
    )


def _metrics_of(self: Any, loader: int) -> RetrievalMetrics:
    """Metrics of a dataloader; the first one's are the module's own."""
    of_loaders: dict[int, RetrievalMetrics] = self._retrieval_metrics_of_loaders
    if loader not in of_loaders:
        of_loaders[loader] = self.retrieval_metrics if loader == 0 else self.retrieval_metrics.clone()
        of_loaders[loader].reset()
    return of_loaders[loader]


def _log_metrics(self: Any, stage: str, loader: int, prefix: str, of_loader: str) -> None:
    """Compute once, under every label source, and log; every process takes part, also one that saw no batch."""
    metrics = _metrics_of(self, loader)
    device = getattr(self, "device", None)
    facts = torch.tensor([pairs_seen(self, loader), int(is_partial(self, stage, loader))], device=device)
    seen, incomplete = sum_over_processes(facts).tolist()
    if not seen:
        refuse_assigned_step(self, "test_step" if stage == "test" else "validation_step")
        return  # Lightning says that the dataloader is empty
    if loader in self.__dict__.get("_retrieval_unnamed", ()):
        leader: Any = next(iter(metrics.values(copy_state=False)))
        warn_of_copies(self, torch.cat(leader.image_embeds))
    tables = self.retrieval_tables(metrics)
    similarity = None if metrics.similarity is not None else self.retrieval_similarity
    results = metrics.compute_under(list(tables.values()), similarity=similarity, partial=bool(incomplete))
    if not prefix:
        self.retrieval_labels = {suffix: label_of(table) for suffix, table in tables.items()}
    if self.retrieval_baselines is not None:
        for suffix, table in tables.items():
            for kind, of_kind in metrics.baselines(table, partial=bool(incomplete)).items():
                known = {f"{prefix}{name}{suffix}{of_loader}": value for name, value in of_kind.items()}
                self.retrieval_baselines.setdefault(kind, {}).update(known)
    for suffix, values in zip(tables, results, strict=True):
        named = {f"{stage}/{prefix}{name}{suffix}{of_loader}": value for name, value in values.items()}
        self.log_dict(named, sync_dist=process_count() > 1, add_dataloader_idx=False)


class RetrievalMetricsMixin(RetrievalHooks):
    """Measures retrieval in the validation and test of the LightningModule behind it.

    Its ``validation_step`` and ``test_step`` are extended, or supplied where it has none. Embeddings come from the host
    in one of the three ways of :mod:`vse_lightning.mixins`, ids and labels from
    ``retrieval_targets(batch)``; batches without ids are pairs, numbered through the epoch and over all processes. At
    the end of the epoch everything is computed once and logged as ``val/i2t_recall_at_1``, ``test/t2i_ndcg_at_10``,
    ``val/rsum`` and so on. Where the host has no ``predict_step``, predicting returns embeddings and ids.

    Graded metrics take their labels from ``retrieval_metrics.relevance``, else from a table in
    ``retrieval_targets(batch)``, else from the data module's ``eval_relevance_tables`` (the first under the plain
    names, others with the suffix ``_{name}``), else from ``text_features`` of the targets; without any they are left
    out with a warning. In a sanity check, under a limit of batches or with skipped pictures ``folds`` are measured as
    one.

    Set ``retrieval_baselines = {}`` before a validation or test, and what random scores and the labels themselves would
    get is put into it, under ``"random"`` and ``"ideal"`` by logged name without the stage; nothing of it is logged.

    Without ``retrieval_metrics`` the mixin is invisible.

    Args:
        retrieval_metrics: what to measure, a :class:`~vse_lightning.metrics.RetrievalMetrics` or any
            ``MetricCollection`` of metrics of this package; ``None`` measures nothing.

    Raises:
        TypeError: (when the class is made) the mixin stands behind its host, or (when configured) the host has an
            attribute or method under a name of the mixin.
    """

    _retrieval_arguments: ClassVar[tuple[str, ...]] = ("retrieval_metrics",)
    _retrieval_names: ClassVar[tuple[str, ...]] = ("retrieval_tables",)

    validation_step = Extension(
        partial(_evaluation_step, "val"), _has_metrics, entry=True, supplies=_evaluation_signature
    )
    test_step = Extension(partial(_evaluation_step, "test"), _has_metrics, entry=True, supplies=_evaluation_signature)
    predict_step = Extension(_predict_step, _has_metrics, entry=True, supplies=_predict_signature)
    on_validation_epoch_start = Extension(_on_epoch_start, _has_metrics, entry=True)
    on_test_epoch_start = Extension(_on_epoch_start, _has_metrics, entry=True)
    on_predict_epoch_start = Extension(_on_predict_epoch_start, _has_metrics, entry=True)
    on_validation_epoch_end = Extension(partial(_on_epoch_end, "val"), _has_metrics, entry=True)
    on_test_epoch_end = Extension(partial(_on_epoch_end, "test"), _has_metrics, entry=True)

    def __init__(self, *args: Any, retrieval_metrics: MetricCollection | None = None, **kwargs: Any) -> None:
        if retrieval_metrics is None:
            attributes = {"retrieval_metrics": None}
            super().__init__(*args, **host_arguments(RetrievalMetricsMixin, self, attributes), **kwargs)
            return
        metrics = RetrievalMetrics.of(retrieval_metrics)
        super().__init__(*args, **kwargs)
        # label sources behind each suffix of the graded metrics: "" for the plain names, "_cider", ...
        asked: dict[str, Any] = {"retrieval_metrics": metrics, "retrieval_labels": {}, "retrieval_baselines": None}
        configure(self, RetrievalMetricsMixin, asked)
        self.__dict__["_retrieval_metrics_of_loaders"] = {}

    @HostFirst
    def retrieval_tables(self, metrics: RetrievalMetrics) -> Mapping[str, LabelTable | None]:
        """Where the graded metrics of the running validation or test take their labels from.

        Args:
            metrics: those of the dataloader, whose own ``relevance`` comes first.

        Returns:
            Label tables by the suffix that their values are logged with, the plain names' ``""`` first. ``None`` stands
            for the ``text_features`` of the batches.
        """
        first = metrics.relevance or self.__dict__.get("_retrieval_table")
        source = self.__dict__.get("_retrieval_source")
        if first is not None:
            rule = (
                "retrieval_metrics.relevance is of the target's texts: leave it out where {!r} is measured too, got {}"
            )
            require(not source, rule, source, label_of(first))
            return {"": first}
        datamodule: Any = getattr(trainer_of(self), "datamodule", None)
        tables = getattr(datamodule, "eval_relevance_tables", None)
        if source:
            tables = datamodule.eval_source_tables[source]
        tables = tables or {"": None}
        return {"" if place == 0 else f"_{name}": table for place, (name, table) in enumerate(tables.items())}
