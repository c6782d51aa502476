"""The configuration of a run beside its logs, and never over a file that is there."""

from itertools import chain, count
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

from vse_lightning.whole_files import whole_file


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the log folder; where that is another one already, ``config-1.yaml`` and so on.

    Without a logger the run has no folder of its own, and nothing is written.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it when the run starts."""
        if self.already_saved:
            return
        self.already_saved = True
        if not trainer.loggers:
            rank_zero_info("The configuration is not saved, since a run without a logger has no folder of its own")
            return
        folder = Path(trainer.log_dir)  # type: ignore[arg-type]  # asks the other processes too
        if trainer.is_global_zero:
            self._write(folder, self.parser.dump(self.config, skip_none=False, format="yaml"))

    def _write(self, folder: Path, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = folder / self.config_filename
        names = chain([wanted.stem], (f"{wanted.stem}-{number}" for number in count(1)))
        for path in map(wanted.with_stem, names):
            try:
                path.touch(exist_ok=False)  # ours from here on, and of no run that starts at the same moment
                with whole_file(path) as written:
                    written.write_text(text, encoding="utf-8")
            except FileExistsError:
                if path.read_bytes() != text.encode():
                    continue
            if path != wanted:
                rank_zero_info(f"The configuration of this run is {path}: {wanted.name} was there already")
            return
