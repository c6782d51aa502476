"""The configuration of a run beside its logs, and never over a file that is there."""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from platform import python_version
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

import vse_lightning
from vse_lightning.targets import label_of
from vse_lightning.whole_files import whole_file

_PACKAGES = (
    *("torch", "lightning", "torchmetrics", "numpy"),
    *("transformers", "timm", "sentence_transformers", "datasets"),
)


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` and ``run.json`` into the log folder; where another is there, ``config-1.yaml`` and so on.

    ``run.json`` says what the config does not: versions, the seed, the names of the labels, a fingerprint of the data.

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
            self._write(folder / self.config_filename, self.parser.dump(self.config, skip_none=False, format="yaml"))
            facts = facts_of(self.config.get("seed_everything"), getattr(trainer, "datamodule", None))
            self._write(folder / "run.json", json.dumps(facts, indent=1) + "\n")

    def _write(self, wanted: Path, text: str) -> None:
        wanted.parent.mkdir(parents=True, exist_ok=True)
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


def facts_of(seed: object, datamodule: object) -> dict[str, Any]:
    """What a run depends on beside its config.

    Args:
        seed: of ``seed_everything``.
        datamodule: set up already, if there is one; ours knows its labels and its data.
    """
    source = getattr(datamodule, "source", None)
    tables = {"": getattr(datamodule, "relevance_table", None), **getattr(datamodule, "eval_relevance_tables", {})}
    named = {"train": tables.pop(""), **tables}
    return {
        "versions": versions(),
        "seed": seed,
        "labels": {name: label_of(table) for name, table in named.items() if table is not None},
        "data": {"source": type(source).__name__, "sha256": getattr(source, "fingerprint", None)} if source else None,
    }


def versions() -> dict[str, str]:
    """Of Python, of this package, and of those that results depend on, where they are installed."""
    known = {"python": python_version(), "vse_lightning": vse_lightning.__version__}  # ours may be a mere checkout
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    return known
