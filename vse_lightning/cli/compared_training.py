"""``fit --compare_with``: the same training with another config on top as well, and both models side by side."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.cli.config_files import configs_first
from vse_lightning.cli.evaluate.comparison import print_comparison
from vse_lightning.cli.saved_config import RunConfig
from vse_lightning.cli.training import TRAINING, RetrievalCLI
from vse_lightning.pages.evaluation_page import Result
from vse_lightning.report import table_rows

COMPARE = "config to train the same model with as well, such as loss/triplet.yaml, and to show beside it at the end"
NOTES = (
    "random, ideal: what random scores, and the labels themselves as scores, get on the same gallery",
    "one training each: other seeds move both, so small differences say nothing",
)


class ComparingCLI(RetrievalCLI):
    """Training and measuring; ``fit --compare_with CONFIG`` trains a second model too, and shows both.

    The second model learns from the same data in the same order, and from the same seed; its checkpoints are in the
    folder ``compared`` of the log folder.
    """

    _other: _OtherCLI | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give ``fit`` the option; the others read its configs too."""
        super().add_arguments_to_parser(parser)
        # one config serves all four
        of_fit = parser.description == TRAINING["fit"]
        parser.add_argument("--compare_with", type=str | None, default=None, help=COMPARE if of_fit else SUPPRESS)

    def before_fit(self) -> None:
        """Say of a comparison that will not come why, before the training."""
        if self._compare_with is not None:
            configs_first(["--config", self._compare_with])  # or the error that there is none
            reason = self._left_out()
            if reason:
                print(f"--compare_with {self._compare_with} is left out: {reason}")

    def after_fit(self) -> None:
        """Train the other model, then test both."""
        if self._compare_with is not None and not self._left_out():
            self._other = self._train_other(self._compare_with)
        super().after_fit()

    def _left_out(self) -> str:
        """Why nothing can be compared."""
        share = self.trainer.limit_train_batches
        if isinstance(share, int) or share < 1:  # a number of batches, that of fast_dev_run too
            return "not all of the training data is used"
        if not self.trainer.loggers:
            return "without a logger there is no folder for the other model"
        return "it trains in one process" if self.trainer.world_size > 1 else ""

    def report(self, stage: str, values: Mapping[str, float], checkpoint: str | None) -> None:
        """Print the table, where everything is and, of a comparison, what to do with it."""
        super().report(stage, values, checkpoint)
        if self._other is not None and checkpoint is not None:
            config = quote(f"{self.trainer.log_dir}/config.yaml")
            asked = f"--ckpt_path {quote(checkpoint)} --config {config} --index test.index --text TEXT"
            print(f"      next: vse-lightning search {asked}")

    def print_table(self, stage: str, values: Mapping[str, float]) -> None:
        """Print both models side by side."""
        if self._other is None:
            return super().print_table(stage, values)
        models = {self._other.folder.name: self._other.results, "this": results_of(self, values)}
        return print_comparison(models, self.baselines, 0.0, NOTES)

    @property
    def _compare_with(self) -> str | None:
        config: str | None = self.config.get("fit", {}).get("compare_with")
        return config

    def _train_other(self, config: str) -> _OtherCLI:
        (saved,) = self.callbacks(RunConfig)
        folder = Path(str(self.trainer.log_dir)) / "compared" / Path(config).stem
        print(f"\nThe same training with {config}, to compare:")
        with TemporaryDirectory() as temporary:
            this = Path(temporary) / "this.yaml"
            options = saved.config.clone()
            options.pop("compare_with")
            options.ckpt_path = None
            this.write_text(saved.parser.dump(options, skip_none=False, format="yaml"), encoding="utf-8")
            other = _OtherCLI(this, config, folder)
        pages = [
            gallery.path.with_suffix(".npz")
            for gallery in other.callbacks(RetrievalGallery)
            if gallery.path is not None
        ]
        for gallery in self.callbacks(RetrievalGallery):
            gallery.compare_to = next(iter(pages), None)
        return other


class _OtherCLI(RetrievalCLI):
    """A ``fit`` in a folder of its own, whatever its configs say of loggers and checkpoints."""

    def __init__(self, this: Path, other: str, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Result] = {}
        arguments = {"save_dir": str(folder.parent), "name": "", "version": folder.name}
        logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": arguments}
        super().__init__(["fit", f"--config={this}", f"--config={other}", f"--trainer.logger={json.dumps(logger)}"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, which writes its checkpoints beside its log."""
        trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback.dirpath = str(self.folder / "checkpoints")
        return trainer

    def report(self, stage: str, values: Mapping[str, float], checkpoint: str | None) -> None:
        """Keep what is shown later."""
        self.results = results_of(self, values)


def results_of(run: RetrievalCLI, values: Mapping[str, float]) -> dict[str, Result]:
    """What a run measured, by name without the stage."""
    named = {name.partition("/")[2]: value for name, value in values.items()}
    rows = table_rows(named, run.displays, run.labels)
    shown = {
        name: row.display._replace(name=row.label, direction=direction)
        for row in rows
        for direction, name in row.names.items()
    }
    return {name: Result(named[name], display) for name, display in shown.items()}
