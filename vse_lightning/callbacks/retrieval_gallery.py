"""A page to look at: what the model retrieves, and how relevant it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from vse_lightning.argument_types import typed
from vse_lightning.checks import is_own, require, require_extra, require_whole
from vse_lightning.data import ImageTextSource
from vse_lightning.metrics import RetrievalMetric, RetrievalMetrics, RetrievalNDCG
from vse_lightning.pages import PAGE_MARK
from vse_lightning.pages.gallery_page import gallery_page
from vse_lightning.pages.items import SourceItems
from vse_lightning.pages.logged_pictures import log_pictures
from vse_lightning.pages.ranked_queries import rank_queries
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.ranking.gallery import Gallery, State
from vse_lightning.report import shown_table
from vse_lightning.whole_files import whole_file

Stage = Literal["val", "test"]
_STAGES_OF = {"fit": "val", "validate": "val", "test": "test"}


class RetrievalGallery(Callback):
    """Writes one HTML page after validation or test: queries with what the model retrieved for them.

    ``gallery-test.html`` in the log folder shows the metrics with their label source, mean relevance by rank against
    the ideal order and, for sampled, best and worst queries of both directions, the best-scored captions or pictures
    with score and relevance, matches marked, beside the rank of the first match, NDCG and Kendall's tau. The page holds
    all it needs and opens from disk. ``gallery-test.npz`` beside it is what ``compare_to`` of another run reads.
    Loggers that take images (TensorBoard, W&B) get the sampled queries too and, with the extra ``plot``, the curves.

    The LightningModule measures with :class:`~vse_lightning.mixins.RetrievalMetricsMixin`. The first process ranks the
    whole gallery once more, in blocks and without folds; of several dataloaders the first is shown.

    Args:
        queries: how many to sample, how many of the best and of the worst to show, in each direction; a page grows by
            about 0.3 MB for each.
        top_k: candidates to show of each query, and the cut-off of its NDCG.
        depth: ranks of the relevance curve, and the cut-off of tau.
        stages: after which of ``"val"`` and ``"test"`` to write; during fit, each validation replaces the page.
        seed: of the sample.
        compare_to: ``gallery-{stage}.npz`` of another run, to show beside this one.
        source: where pictures and captions are read; default: ``source`` of the data module.

    Attributes:
        path: of the page written last, on the first process.

    Raises:
        ValueError: if an argument is out of its range.
    """

    @typed
    def __init__(
        self,
        queries: int = 4,
        top_k: int = 10,
        depth: int = 100,
        stages: Sequence[Stage] = ("test",),
        seed: int = 0,
        compare_to: str | Path | None = None,
        source: ImageTextSource | None = None,
    ) -> None:
        require_extra("RetrievalGallery", "data", "PIL")
        require_whole("queries", queries)
        require_whole("top_k", top_k)
        require_whole("depth", depth, least=2)
        require_whole("seed", seed, least=0)
        known = not isinstance(stages, str) and 0 < len(set(stages) & {"val", "test"}) == len(stages)
        require(known, "stages must be a list of 'val', 'test' or both, got {!r}", stages)
        self.queries, self.top_k, self.depth = queries, top_k, depth
        self.stages = list(stages)
        self.seed = seed
        self.compare_to = None if compare_to is None else Path(compare_to).expanduser()
        self.source = source
        self.path: Path | None = None
        self._other: RankedRun | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fail before the work begins, not after it.

        Raises:
            FileNotFoundError: there is no ``compare_to``.
            ValueError: ``compare_to`` is no results file, the module has no retrieval metrics, or there is no source.
        """
        if _STAGES_OF.get(stage) not in self.stages:
            return
        if self.compare_to is not None:
            self._other = RankedRun.load(self.compare_to)
        self._metrics_of(pl_module)
        self._source_of(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page of the validation."""
        if "val" in self.stages and not trainer.sanity_checking:
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page of the test."""
        if "test" in self.stages:
            self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        metrics = self._metrics_of(pl_module)
        with _leader(metrics).joined():
            state = dict(_leader(metrics).metric_state)
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asks the other processes too
        if not trainer.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = _place(folder, f"gallery-{stage}")
        run = self._ranked_run(trainer, pl_module, state, stage, name="/".join(path.parent.absolute().parts[-2:]))
        run.save(path.with_suffix(".npz"))
        selected = {name: ranked.select(self.queries, self.seed) for name, ranked in run.directions.items()}
        items = SourceItems(self._source_of(trainer))
        facts = _facts(trainer, pl_module, _leader(metrics).protocol.folds)
        page = gallery_page(run, selected, items, facts, self._comparable(run))
        with whole_file(path) as written:
            written.write_text(page, encoding="utf-8")
        self.path = path
        log_pictures(trainer.loggers, run, selected["t2i"], items, trainer.global_step)
        rank_zero_info(f"Retrieval gallery: {path}")

    def _ranked_run(self, trainer: Trainer, pl_module: Any, state: State, stage: Stage, name: str) -> RankedRun:
        metrics = self._metrics_of(pl_module)
        relevance = next(iter(pl_module.retrieval_tables(metrics).values()))
        similarity = pl_module.retrieval_similarity if metrics.similarity is None else metrics.similarity
        values, baselines = _values_of(trainer, stage), pl_module.retrieval_baselines or {}
        directions, label = rank_queries(
            Gallery.from_state(state),
            relevance,
            similarity=similarity,
            protocol=_leader(metrics).protocol,
            gain=next((ndcg.gain for ndcg in _members(metrics) if isinstance(ndcg, RetrievalNDCG)), "exponential"),
            top_k=self.top_k,
            depth=self.depth,
        )
        return RankedRun(
            name=name,
            stage=stage,
            label=label,
            metrics=values,
            table=shown_table(values, metrics.displays, pl_module.retrieval_labels, baselines),
            top_k=self.top_k,
            depth=self.depth,
            directions=directions,
        )

    def _comparable(self, run: RankedRun) -> RankedRun | None:
        if self._other is None or run.ranks_the_same_queries_as(self._other):
            return self._other
        rank_zero_warn(f"compare_to: {self.compare_to} ranked other images or captions, so the page leaves it out")
        return None

    def _metrics_of(self, pl_module: LightningModule) -> RetrievalMetrics:
        metrics = getattr(pl_module, "retrieval_metrics", None)
        if not isinstance(metrics, RetrievalMetrics):
            raise ValueError(
                "RetrievalGallery shows what RetrievalMetricsMixin measures: "
                f"{type(pl_module).__name__} must inherit from it and be given retrieval_metrics, got {metrics!r}"
            )
        return metrics

    def _source_of(self, trainer: Trainer) -> ImageTextSource:
        source = self.source or getattr(getattr(trainer, "datamodule", None), "source", None)
        if not isinstance(source, ImageTextSource):
            raise ValueError(
                "source must be an ImageTextSource with the pictures and captions of the batches' image_ids and "
                f"text_ids where the data module has none, got {source!r}"
            )
        return source


def _place(folder: Path, name: str) -> Path:
    """Where to write a page: in the place of our earlier one, and of nobody else's file."""
    names = (f"{name}-{number}.html" if number else f"{name}.html" for number in count())
    return next(folder / file for file in names if _may_take(folder / file))


def _may_take(page: Path) -> bool:
    if page.is_file():
        return is_own(page, PAGE_MARK)
    return not page.exists() and not page.with_suffix(".npz").exists()


def _members(metrics: RetrievalMetrics) -> list[RetrievalMetric]:
    return [member for member in metrics.values(copy_state=False) if isinstance(member, RetrievalMetric)]


def _leader(metrics: RetrievalMetrics) -> RetrievalMetric:
    """One that holds the state and the protocol of all."""
    return _members(metrics)[0]


def _values_of(trainer: Trainer, stage: Stage) -> dict[str, float]:
    """Logged metrics of the stage's first dataloader, without the stage."""
    named = {
        name.removeprefix(f"{stage}/").removesuffix("/dataloader_idx_0"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(f"{stage}/")
    }
    others = tuple(f"{name}_" for name in getattr(trainer.datamodule, "eval_sources", ()))  # type: ignore[attr-defined]
    return {name: value for name, value in named.items() if "/" not in name and not name.startswith(others)}


def _facts(trainer: Trainer, pl_module: LightningModule, folds: int) -> dict[str, str]:
    """What the head of the page says besides the run and its labels."""
    facts = {"model": type(pl_module).__name__}
    if trainer.ckpt_path:
        facts["checkpoint"] = Path(trainer.ckpt_path).name
    if folds > 1:
        facts["metrics"] = f"mean over {folds} folds; lists and curves rank the whole gallery"
    return facts
