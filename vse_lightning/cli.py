"""The command ``vse-lightning``: fit, validate, test and predict from YAML, through LightningCLI."""

import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from vse_lightning.callbacks import EmbeddingWriter, RetrievalGallery
from vse_lightning.checks import require
from vse_lightning.commands.remembered import parse_beside_checkpoint
from vse_lightning.models.restoring import restoring
from vse_lightning.report import print_results

COMMANDS = {
    "label": "compute and cache the labels of a config ahead of training",
    "evaluate": "numbers for embeddings, scores or TREC runs of any model, several side by side",
    "search": "a text or a picture in, ranked pictures or captions out, from a checkpoint",
    "export": "both towers of a checkpoint as torch.export programs or ONNX, checked for equality",
}
"""Commands that are no method of the trainer, each a module of :mod:`vse_lightning.commands`."""
DESCRIPTION = "Relevance-aware image-text retrieval: train, test and compare losses from YAML files. Besides the " + (
    "commands below: " + "; ".join(f"{name}: {what}" for name, what in COMMANDS.items()) + "."
)
PREDICT = (
    "Embed the images and captions of a split (predict_split of the data) and write the embeddings with their ids, "
    "which 'vse-lightning evaluate FOLDER' measures."
)
CONFIG_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
"""Where ``--config NAME.yaml`` is found: in the installed package, or in the checkout that it runs from."""


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
            save_config_kwargs={"overwrite": True},
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
        if rank_zero_only.rank == 0:
            print(*lines, sep="\n", end="\n" if lines else "")

    def _parse_ckpt_path(self) -> None:
        """What LightningCLI would do here lets the checkpoint win: :meth:`parse_arguments` has read it already."""

    def instantiate_classes(self) -> None:
        """Make model and data; a model whose weights come from a checkpoint fetches no others."""
        checkpoint = self.config.get(str(self.subcommand), {}).get("ckpt_path")
        with restoring() if checkpoint else nullcontext():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer; a prediction writer of the config replaces the one that comes by itself."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(callback, BasePredictionWriter) for callback in callbacks) > 1:
            callbacks.remove(self._get(self.config_init, "embeddings"))
        return trainer

    def after_fit(self) -> None:
        """Test the best checkpoint, or the last weights where none was written, and say where everything is."""
        if "test" not in getattr(getattr(self.datamodule, "source", None), "splits", {}):
            return
        callback = self.trainer.checkpoint_callback
        best = getattr(callback, "best_model_path", "") or None
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False, weights_only=True)
        self._report("test", best)

    def test(self, **kwargs: Any) -> None:
        """Run ``trainer.test`` and print its table."""
        self.trainer.test(**{**kwargs, "verbose": False})
        self._report("test", kwargs.get("ckpt_path"))

    def validate(self, **kwargs: Any) -> None:
        """Run ``trainer.validate`` and print its table."""
        self.trainer.validate(**{**kwargs, "verbose": False})
        self._report("val", kwargs.get("ckpt_path"))

    def predict(self, **kwargs: Any) -> None:
        """Run ``trainer.predict``, which writes the embeddings, and print where they are."""
        self.trainer.predict(**kwargs, return_predictions=False)
        if self.trainer.is_global_zero:
            for writer in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(writer, EmbeddingWriter) and writer.path is not None:
                    print(f"embeddings: {writer.path} ({writer.images:,} images, {writer.texts:,} texts)")

    def _report(self, stage: str, checkpoint: str | None) -> None:
        if self.trainer.is_global_zero:
            labels = getattr(self.model, "retrieval_labels", {})
            print_results(self.trainer.callback_metrics, stage, labels)
            galleries = [found for found in self.trainer.callbacks if isinstance(found, RetrievalGallery)]  # type: ignore[attr-defined]
            page = galleries[0].path if galleries else None
            for name, path in (("checkpoint", checkpoint), ("log", self.trainer.log_dir), ("page", page)):
                if path:
                    print(f"{name:>10}: {path}")


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace ``--config NAME`` by the path of the shipped config of that name, unless the file exists here.

    Raises:
        ValueError: where there is no such file anywhere, with the names that there are.
    """
    found = list(args)
    for place, argument in enumerate(args):
        name, equals, value = argument.partition("=")
        if name not in ("--config", "-c"):
            continue
        if equals:
            found[place] = f"{name}={_config_path(value)}"
        elif place + 1 < len(args):
            found[place + 1] = _config_path(args[place + 1])
    return found


def configs_first(args: Sequence[str]) -> list[str]:
    """Move ``--config`` before the other options of its subcommand: an option counts wherever it stands.

    Example:
        >>> configs_first(["fit", "--trainer.max_epochs", "1", "--config", "a.yaml", "-c=b.yaml"])
        ['fit', '--config', 'a.yaml', '-c=b.yaml', '--trainer.max_epochs', '1']
    """
    if not args or args[0].startswith("-"):  # of no subcommand
        return list(args)
    configs: list[str] = []
    others: list[str] = []
    for place, argument in enumerate(args):
        name, equals, _ = argument.partition("=")
        is_config = name in ("--config", "-c")
        is_name_of_config = place > 0 and args[place - 1] in ("--config", "-c")
        (configs if is_config or is_name_of_config else others).append(argument)
    return [*others[:1], *configs, *others[1:]]


def _config_path(name: str) -> str:
    if Path(name).is_file():
        return name
    folders = [folder for folder in CONFIG_FOLDERS if folder.is_dir()]
    for folder in folders:
        candidate = folder / name.removeprefix("configs/")
        if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
            return str(candidate)
    shipped = sorted({str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.yaml")})
    require(False, "--config: no file {!r} here, and none of that name is shipped: {}", name, ", ".join(shipped))
    return name


def main(args: list[str] | None = None) -> None:
    """Run the command; ``args`` default to those of the shell."""
    given = sys.argv[1:] if args is None else args
    try:
        if given and given[0] in COMMANDS:
            import_module(f"vse_lightning.commands.{given[0]}").run(given[1:])
        else:
            RetrievalCLI(args)
    except (ImportError, ValueError, TypeError, OSError, RuntimeError) as error:
        cause = _first_cause(error)
        ours = _raised_in(cause).startswith("vse_lightning")
        if args is not None or (isinstance(cause, RuntimeError) and not ours):  # PyTorch's need their traceback
            raise
        sys.exit(f"vse-lightning: {cause}")


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong inside, where jsonargparse wraps it in what it could not make of it."""
    while error.__cause__ is not None and _raised_in(error).startswith("jsonargparse"):
        error = error.__cause__
    return error


def _raised_in(error: BaseException) -> str:
    """Name of the module that raised an error."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__", "")) if frames else ""
