"""Retrieval metrics for a LightningModule that exists already."""

from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from vse_lightning.distributed import process_count
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.metrics.relevance import RelevanceBlocks, label_of
from vse_lightning.mixins.extension import Extension
from vse_lightning.mixins.hooks import RetrievalHooks, embeddings_in
from vse_lightning.targets import LabelTable, RetrievalTargets


def _has_metrics(host: Any) -> bool:
    return getattr(host, "retrieval_metrics", None) is not None


def _evaluation_step(self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """The host's step, then an update of the metrics with the same embeddings."""
    with self._one_embedding():
        output = None if host is None else host(batch, *args, **kwargs)
        embeds = self._embeddings(batch, embeddings_in(output))
        targets = self.targets(batch).check(*embeds)
    loader = kwargs.get("dataloader_idx", args[1] if len(args) > 1 else 0)
    self._update_metrics(loader, embeds, targets)
    return output


def _evaluation_signature(self: Any, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    """Retrieval metrics of the batch."""


def _on_epoch_start(self: Any, host: Any) -> Any:
    for metrics in self._metrics_of_loaders.values():
        metrics.reset()
    self.__dict__["_evaluation_table"] = None
    return host()


def _on_epoch_end(stage: str, self: Any, host: Any) -> Any:
    for loader in sorted(self._metrics_of_loaders):
        self._log_metrics(stage, loader)
    return host()


class RetrievalMetricsMixin(RetrievalHooks):
    """Measures retrieval in the validation and test of the LightningModule behind it.

    The host implements ``embed(batch)``, and ``targets(batch)`` where its batches are not dicts with the keys of
    :class:`~vse_lightning.data.ImageTextDataModule`. Its ``validation_step`` and ``test_step`` are extended, or
    supplied where it has none; at the end of the epoch everything is computed once and logged as
    ``val/i2t_recall_at_1``, ``test/t2i_ndcg_at_10``, ``val/rsum`` and so on. Where the host has no ``predict_step``,
    predicting returns embeddings and ids.

    Graded metrics take their labels from ``retrieval_metrics.relevance``, else from a table in ``targets(batch)``, else
    from the data module's ``eval_relevance_tables`` (the first under the plain names, others with the suffix
    ``_{name}``), else from ``targets(batch).text_features``; without any they are left out with a warning.

    Without ``retrieval_metrics`` the mixin is invisible.

    Args:
        retrieval_metrics: what to measure; ``None`` measures nothing.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ("retrieval_metrics",)

    validation_step = Extension(_evaluation_step, _has_metrics, supplies=_evaluation_signature)
    test_step = Extension(_evaluation_step, _has_metrics, supplies=_evaluation_signature)
    on_validation_epoch_start = Extension(_on_epoch_start, _has_metrics)
    on_test_epoch_start = Extension(_on_epoch_start, _has_metrics)
    on_validation_epoch_end = Extension(partial(_on_epoch_end, "val"), _has_metrics)
    on_test_epoch_end = Extension(partial(_on_epoch_end, "test"), _has_metrics)

    def __init__(self, *args: Any, retrieval_metrics: RetrievalMetrics | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(retrieval_metrics, RetrievalMetrics | None):
            raise TypeError(
                f"retrieval_metrics must be a RetrievalMetrics, got {type(retrieval_metrics).__name__}: log other "
                "metrics with self.log(name, metric) in your own steps"
            )
        self.retrieval_metrics: Any = retrieval_metrics
        self.retrieval_labels: dict[str, str] = {}
        """Label source behind each suffix of the graded metrics: ``""`` for the plain names, ``"_cider"``, ..."""
        self._metrics_of_loaders: dict[int, RetrievalMetrics] = {}

    def evaluation_tables(self, metrics: RetrievalMetrics) -> dict[str, RelevanceBlocks | None]:
        """Where the graded metrics of the running validation or test take their labels from.

        Args:
            metrics: those of the dataloader, whose own ``relevance`` comes first.

        Returns:
            Label tables by the suffix that their values are logged with, the plain names' ``""`` first. ``None`` stands
            for the ``text_features`` of the batches.
        """
        given = metrics.relevance or self.__dict__.get("_evaluation_table")
        if given is not None:
            return {"": given}
        datamodule = getattr(getattr(self, "_trainer", None), "datamodule", None)
        tables = getattr(datamodule, "eval_relevance_tables", None) or {"": None}
        return {"" if place == 0 else f"_{name}": table for place, (name, table) in enumerate(tables.items())}

    def _update_metrics(self, loader: int, embeds: tuple[Tensor, Tensor], targets: RetrievalTargets) -> None:
        """Add a batch of the given dataloader; the first one's metrics are the module's own."""
        if loader not in self._metrics_of_loaders:
            metrics = self.retrieval_metrics if loader == 0 else self.retrieval_metrics.clone()
            metrics.reset()
            self._metrics_of_loaders[loader] = metrics
        if isinstance(targets.relevance, LabelTable):
            self.__dict__["_evaluation_table"] = targets.relevance
        self._metrics_of_loaders[loader].update(
            *embeds, targets.image_ids, targets.text_image_ids, targets.text_features, targets.text_ids
        )

    def _log_metrics(self, stage: str, loader: int) -> None:
        """Compute once, under every label source, and log."""
        metrics = self._metrics_of_loaders[loader]
        tables = self.evaluation_tables(metrics)
        similarity = None if metrics.similarity is not None else self.similarity
        results = metrics.compute_under(list(tables.values()), similarity=similarity)
        self.retrieval_labels = {suffix: label_of(table) for suffix, table in tables.items()}
        of_loader = f"/dataloader_idx_{loader}" if len(self._metrics_of_loaders) > 1 else ""
        for suffix, values in zip(tables, results, strict=True):
            named = {f"{stage}/{name}{suffix}{of_loader}": value for name, value in values.items()}
            self.log_dict(named, sync_dist=process_count() > 1, add_dataloader_idx=False)
