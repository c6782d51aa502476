"""The command ``vse-lightning``: fit, validate, test and predict from YAML, through LightningCLI."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from vse_lightning.callbacks import EmbeddingWriter, RetrievalGallery
from vse_lightning.checks import require
from vse_lightning.cli.config_files import CONFIG_FOLDERS, configs_first, find_configs
from vse_lightning.cli.errors import told
from vse_lightning.cli.remembered import WORDS_FOR_CHECKPOINTS, parse_beside_checkpoint
from vse_lightning.cli.run_config import RunConfig
from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.resuming import ConfiguredRates
from vse_lightning.models.retriever import Retriever
from vse_lightning.report import print_results

__all__ = ["CONFIG_FOLDERS", "RetrievalCLI", "find_configs", "main"]

COMMANDS = {
    "label": "compute and cache the labels of a config ahead of training",
    "evaluate": "numbers for embeddings or scores of any model, several side by side",
    "search": "a text or a picture in, ranked pictures or captions out, from a checkpoint",
    "export": "both towers of a checkpoint as torch.export programs or ONNX, checked for equality",
}
"""Commands that are no method of the trainer, each a module of :mod:`vse_lightning.cli`."""
DESCRIPTION = "Relevance-aware image-text retrieval: train, test and compare losses from YAML files. Besides the " + (
    "commands below: " + "; ".join(f"{name}: {what}" for name, what in COMMANDS.items()) + "."
)
PREDICT = (
    "Embed the images and captions of a split (predict_split of the data) and write the embeddings with their ids, "
    "which 'vse-lightning evaluate FOLDER' measures."
)


class RetrievalCLI(LightningCLI):
    """LightningCLI for retrieval modules and data modules; prints the metrics as a table.

    ``fit`` ends with a test of the best checkpoint where the data has a test split. ``predict`` writes embeddings with
    an ``EmbeddingWriter``, which the options ``--embeddings`` set up, unless the config has a prediction writer.
    """

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            parser_kwargs={
                "prog": "vse-lightning",
                "description": DESCRIPTION,
                "exit_on_error": False,
                **{name: {"exit_on_error": False} for name in self.subcommands()},
                "predict": {"description": PREDICT, "exit_on_error": False},
            },
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The trainer's methods, with the arguments that are no options."""
        known = LightningCLI.subcommands()
        return {**known, "predict": known["predict"] | {"return_predictions"}}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_lightning_class_args(EmbeddingWriter, "embeddings")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with ``--config NAME.yaml`` found among the shipped configs too.

        What the command line says counts more than what configs say, and both more than what a checkpoint remembers.
        """
        given = sys.argv[1:] if args is None else args
        if not isinstance(given, list):
            self.config = parser.parse_object(given)
            return
        given = configs_first(find_configs(given))
        command = next((argument for argument in given if argument in self.subcommands()), None)
        if command is None:
            self.config = parser.parse_args(given)
            return
        self.config, lines = parse_beside_checkpoint(parser, command, given)
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
        if not isinstance(self.model, Retriever):  # which looks after its rates without the command too
            callbacks.append(ConfiguredRates())
        if sum(isinstance(callback, BasePredictionWriter) for callback in callbacks) > 1:
            callbacks.remove(self._get(self.config_init, "embeddings"))
        return trainer

    def after_fit(self) -> None:
        """Test the best checkpoint, or the last weights where none was written, and say where everything is."""
        if "test" not in getattr(getattr(self.datamodule, "source", None), "splits", {}):
            return
        callback = self.trainer.checkpoint_callback
        best = getattr(callback, "best_model_path", "") or None
        self.test(model=self.model, datamodule=self.datamodule, ckpt_path=best, weights_only=True)

    def test(self, **kwargs: Any) -> None:
        """Run ``trainer.test`` and print its table."""
        logged = self.trainer.test(**{**kwargs, "verbose": False})
        self._report("test", logged, kwargs.get("ckpt_path"))

    def validate(self, **kwargs: Any) -> None:
        """Run ``trainer.validate`` and print its table."""
        logged = self.trainer.validate(**{**kwargs, "verbose": False})
        self._report("val", logged, kwargs.get("ckpt_path"))

    def predict(self, **kwargs: Any) -> None:
        """Run ``trainer.predict``, which writes the embeddings, and print where they are."""
        self.trainer.predict(**kwargs, return_predictions=False)
        if self.trainer.is_global_zero:
            for writer in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(writer, EmbeddingWriter) and writer.path is not None:
                    print(f"embeddings: {writer.path} ({writer.images:,} images, {writer.texts:,} texts)")

    def _report(self, stage: str, logged: Sequence[Mapping[str, float]], checkpoint: str | None) -> None:
        if self.trainer.is_global_zero:
            labels = getattr(self.model, "retrieval_labels", {})
            displays = getattr(getattr(self.model, "retrieval_metrics", None), "displays", {})
            values = {name: value for of_loader in logged for name, value in of_loader.items()}
            print_results(values, stage, displays, labels)
            galleries = [found for found in self.trainer.callbacks if isinstance(found, RetrievalGallery)]  # type: ignore[attr-defined]
            page = galleries[0].path if galleries else None
            for name, path in (("checkpoint", checkpoint), ("log", self.trainer.log_dir), ("page", page)):
                if path:
                    print(f"{name:>10}: {path}")


@rank_zero_only
def _print_once(line: str) -> None:
    print(line)


def main(args: list[str] | None = None) -> None:
    """Run the command; ``args`` default to those of the shell.

    With ``args``, for tests and scripts, it raises what goes wrong. In a shell what is wrong with a config, a file or
    an option is one message and the exit code 2; other errors keep their traceback.
    """
    if args is None and not sys.flags.safe_path:
        sys.path.append("")  # as python -m does: classes of a config may be in the working directory
    try:
        return _run(sys.argv[1:] if args is None else args)
    except Exception as error:
        cause, message = told(error)
    if args is not None or message is None:
        raise cause
    print(f"vse-lightning: {message}", file=sys.stderr)
    sys.exit(2)


def _run(args: list[str]) -> None:
    known = [*RetrievalCLI.subcommands(), *COMMANDS]
    command = args[0] if args else ""
    require(
        command.startswith("-") or command in known, "COMMAND must be one of {}, got {!r}", ", ".join(known), command
    )
    with _environment_as_before():
        if command in COMMANDS:
            import_module(f"vse_lightning.cli.{command}").run(args[1:])
        else:
            RetrievalCLI(args)


@contextmanager
def _environment_as_before() -> Iterator[None]:
    """Take back the seed that Lightning leaves in the environment: a program that goes on did not ask for it."""
    before = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
