"""``vse-lightning fit``, ``validate``, ``test`` and ``predict``: LightningCLI with this package's manners."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from vse_lightning.callbacks import BeforeAndAfter, EmbeddingWriter, RetrievalGallery, WeightInterpolation
from vse_lightning.callbacks.weight_interpolation import INTERPOLATED
from vse_lightning.checks import require
from vse_lightning.cli.checkpoint_config import WORDS_FOR_CHECKPOINTS, parse_beside_checkpoint
from vse_lightning.cli.config_files import configs_first
from vse_lightning.cli.last_checkpoint import keep_best_of, newest_checkpoint
from vse_lightning.cli.parser_errors import suggesting
from vse_lightning.cli.results_file import write_results
from vse_lightning.cli.saved_config import RunConfig
from vse_lightning.mixins.host.lightning_internals import unseen
from vse_lightning.models.checkpoints.checkpoint_files import CheckpointFiles
from vse_lightning.models.checkpoints.configured_rates import ConfiguredRates
from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.retriever import Retriever
from vse_lightning.report import Baselines, Display, print_changes, print_results, shown_table

TRAINING = {
    "fit": "Train a model, then test its best checkpoint",
    "validate": "Measure a checkpoint on the validation split",
    "test": "Measure a checkpoint on the test split",
    "predict": "Embed the images and captions of a split and write the embeddings with their ids",
}
"""The trainer's methods, and what they do."""
TRUST = "modules whose classes the checkpoint of --ckpt_path may name: my.module or [my.module,other]"
USAGE = "[--OPTION VALUE ...]"
Found = TypeVar("Found")


class RetrievalCLI(LightningCLI):
    """LightningCLI for retrieval modules and data modules; prints the metrics as a table.

    ``fit`` ends with a test of the best checkpoint where the data has a test split. ``predict`` writes embeddings with
    an ``EmbeddingWriter``, which the options ``--embeddings`` set up, unless the config has a prediction writer.
    """

    def __init__(self, args: list[str]) -> None:
        self._parsers: dict[str, LightningArgumentParser] = {}
        self._last: Path | None = None  # the checkpoint that --ckpt_path last means
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            parser_kwargs={
                "prog": "vse-lightning",
                "exit_on_error": False,
                **{
                    name: {"exit_on_error": False, "description": does, "usage": f"vse-lightning {name} {USAGE}"}
                    for name, does in TRAINING.items()
                },
            },
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The trainer's methods, with the arguments that are no options."""
        known = LightningCLI.subcommands()
        return {**known, "predict": known["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let the user trust what a checkpoint names, and give ``predict`` the options of the writer of embeddings."""
        parser.add_argument("--trust", type=list[str] | str | None, default=None, help=TRUST)
        # Lightning does not say for which command it asks
        self._parsers |= {name: parser for name, does in TRAINING.items() if does == parser.description}
        if parser.description == TRAINING["predict"]:
            parser.add_lightning_class_args(EmbeddingWriter, "embeddings")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with ``--config NAME.yaml`` found among the shipped configs too.

        What the command line says counts more than what configs say, and both more than what a checkpoint remembers.
        """
        command, *options = cast("list[str]", args)
        words = [command, *configs_first(options)]
        with suggesting(self._parsers[command], words):
            self.config, lines = parse_beside_checkpoint(parser, command, words)
            if self.config[command].get("ckpt_path") == "last":
                self._last, line = newest_checkpoint(self.config[command]["trainer"])
                if self._last is None and command != "fit":
                    raise FileNotFoundError(line.rpartition(": ")[0])
                words.append(f"--ckpt_path={self._last or 'null'}")
                self.config, lines = parse_beside_checkpoint(parser, command, words)
                lines.insert(0, line)
        _check_numbers(self.config[command])
        for line in lines:
            _print_once(line)

    def _parse_ckpt_path(self) -> None:
        """What LightningCLI would do here lets the checkpoint win: :meth:`parse_arguments` has read it already."""

    def instantiate_classes(self) -> None:
        """Make model and data; a model whose weights come from a checkpoint fetches no others."""
        checkpoint = self.config.get(str(self.subcommand), {}).get("ckpt_path")
        # for "last" there may be none yet
        with nullcontext() if checkpoint in (None, *WORDS_FOR_CHECKPOINTS) else restoring():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer; a prediction writer of the config replaces the one that comes by itself."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # and not one that the user chose
            trainer.strategy.checkpoint_io = CheckpointFiles()
        if self._last is not None and self.subcommand == "fit":
            keep_best_of(self._last, callbacks)
        if not isinstance(self.model, Retriever):  # which looks after its rates without the command too
            callbacks.append(ConfiguredRates())
        if self.subcommand == "fit" and getattr(self.datamodule, "eval_sources", None):
            callbacks.insert(0, BeforeAndAfter())  # before the checkpoints, which keep what it knows
        if sum(isinstance(callback, BasePredictionWriter) for callback in callbacks) > 1:
            callbacks.remove(self.config_init[str(self.subcommand)]["embeddings"])
        return trainer

    def after_fit(self) -> None:
        """Say what was gained and lost, test the best checkpoint or the last weights, and say where everything is."""
        self._print_changes()
        if "test" not in getattr(getattr(self.datamodule, "source", None), "splits", {}):
            return
        callback = self.trainer.checkpoint_callback
        best = getattr(callback, "best_model_path", "") or None
        self.test(model=self.model, datamodule=self.datamodule, ckpt_path=best, weights_only=True)

    def test(self, **kwargs: Any) -> None:
        """Run ``trainer.test`` and print its table, at the end of a fit with interpolated weights beside the plain."""
        self._ask_for_baselines()
        logged = list(self.trainer.test(**{**kwargs, "verbose": False}))
        for mean in self.callbacks(WeightInterpolation):
            if mean.values:
                with mean.applied(self.model), unseen(self.trainer):
                    beside = self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
                for values in beside:
                    mean.log_values(self.trainer, values)
                    logged.append(_of_mean(values))
        self.report("test", self._together(logged), kwargs.get("ckpt_path"))

    def validate(self, **kwargs: Any) -> None:
        """Run ``trainer.validate`` and print its table."""
        self._ask_for_baselines()
        logged = self.trainer.validate(**{**kwargs, "verbose": False})
        self.report("val", self._together(logged), kwargs.get("ckpt_path"))

    def predict(self, **kwargs: Any) -> None:
        """Run ``trainer.predict``, which writes the embeddings, and print where they are."""
        self.trainer.predict(**kwargs, return_predictions=False)
        if self.trainer.is_global_zero:
            for writer in self.callbacks(EmbeddingWriter):
                if writer.path is not None:
                    print(f"embeddings: {writer.path} ({writer.images:,} images, {writer.texts:,} texts)")

    def report(self, stage: str, values: Mapping[str, float], checkpoint: str | None) -> None:
        """Print the table of a stage, and where everything is."""
        if self.trainer.is_global_zero:
            self.print_table(stage, values)
            if stage == "test" and checkpoint and self.trainer.loggers and self.trainer.log_dir:
                plain = {name.removeprefix("test/"): value for name, value in values.items()}
                table = shown_table(plain, self.displays, self.labels, self.baselines)
                write_results(Path(self.trainer.log_dir), checkpoint, table)
            pages = [("page", gallery.path) for gallery in self.callbacks(RetrievalGallery)[:1]]
            means = [("interpolated", mean.path) for mean in self.callbacks(WeightInterpolation)]
            for name, path in (("checkpoint", checkpoint), *means, ("log", self.trainer.log_dir), *pages):
                if path:
                    print(f"{name:>10}: {path}")

    def print_table(self, stage: str, values: Mapping[str, float]) -> None:
        """Print the values of a stage, by logged name."""
        print_results(values, stage, self.displays, self.labels, self.baselines)

    @property
    def displays(self) -> Mapping[str, Display]:
        """How the metrics of the model are shown."""
        return getattr(getattr(self.model, "retrieval_metrics", None), "displays", {})

    @property
    def labels(self) -> Mapping[str, str]:
        """Label sources of what was measured last, by suffix."""
        return getattr(self.model, "retrieval_labels", {})

    @property
    def baselines(self) -> Baselines:
        """What random scores and the labels themselves got there; the same, whichever weights rank the gallery."""
        known: Baselines = getattr(self.model, "retrieval_baselines", None) or {}
        return {kind: self._together([values, _of_mean(values)]) for kind, values in known.items()}

    def callbacks(self, kind: type[Found]) -> list[Found]:
        """The trainer's callbacks of one kind."""
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        return [callback for callback in callbacks if isinstance(callback, kind)]

    def _print_changes(self) -> None:
        """Print what the fit has done to the target and to the other data, with interpolated weights too."""
        for callback in self.callbacks(BeforeAndAfter):
            before, after = [callback.before], [callback.after]
            for mean in self.callbacks(WeightInterpolation):
                before.append(_of_mean(callback.before))
                after.append(_of_mean(mean.values))
            if callback.after and self.trainer.is_global_zero:
                print_changes(self._together(before), self._together(after), self.displays, self.labels)

    def _together(self, logged: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The values of all dataloaders; the name of a further source stands behind that of the metric."""
        sources = list(getattr(self.datamodule, "eval_sources", None) or {})
        return {_source_last(name, sources): value for of_loader in logged for name, value in of_loader.items()}

    def _ask_for_baselines(self) -> None:
        if hasattr(self.model, "retrieval_baselines"):
            self.model.retrieval_baselines = {}


def _of_mean(values: Mapping[str, float]) -> dict[str, float]:
    """Values under the names that those of interpolated weights have in tables."""
    return {f"{name}/{INTERPOLATED}": value for name, value in values.items()}


def _source_last(name: str, sources: Sequence[str]) -> str:
    """``test/coco_rsum/interpolated`` as ``test/rsum/coco/interpolated``; as it is without a source."""
    for source in sources:
        stage, slash, metric = name.partition(f"{source}_")
        if slash and stage in ("", "val/", "test/"):
            metric, more, rest = metric.partition("/")
            return f"{stage}{metric}/{source}{more}{rest}"
    return name


def _check_numbers(config: Any) -> None:
    """Refuse numbers of which Lightning or NumPy would not say what they are."""
    seed, steps = config.get("seed_everything"), config.get("trainer.accumulate_grad_batches")
    rule = "--seed_everything must be true, false or a whole number from 0 to 4294967295, got {}"
    require(seed is None or 0 <= seed < 2**32, rule, seed)
    require(steps is None or steps > 0, "--trainer.accumulate_grad_batches must be at least 1, got {}", steps)


@rank_zero_only
def _print_once(line: str) -> None:
    print(line)
