"""The values of a test beside the log of its run: what the model card of an export shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vse_lightning.callbacks.weight_interpolation import INTERPOLATED
from vse_lightning.checks import is_own
from vse_lightning.whole_files import whole_file

RESULTS = "test.json"
_MARK = "vse-lightning test"

Table = Mapping[str, Mapping[str, str]]


def write_results(folder: Path, checkpoint: str, table: Table) -> None:
    """Write a table down, over an earlier one of the command and over no other file.

    Args:
        folder: of the log.
        checkpoint: what was tested.
        table: shown values by label and direction.
    """
    path = folder / RESULTS
    if not path.exists() or is_own(path, _MARK):
        content = {"written_by": _MARK, "checkpoint": Path(checkpoint).name, "values": table}
        with whole_file(path) as written:
            written.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def results_of(checkpoint: Path) -> Table:
    """What the run that wrote a checkpoint measured of it; nothing where that is not known."""
    path = of_run(checkpoint, RESULTS)
    found: dict[str, Any] = {} if path is None or not is_own(path, _MARK) else json.loads(path.read_text("utf-8"))
    if found.get("checkpoint") != checkpoint.name:
        return {}
    ending = f"/{INTERPOLATED}"
    values: Table = found["values"]
    wanted = {label: row for label, row in values.items() if label.endswith(ending) == is_mean(checkpoint)}
    return {label.removesuffix(ending): row for label, row in wanted.items()}


def is_mean(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of interpolated weights."""
    return checkpoint.absolute().parent.name == INTERPOLATED


def of_run(checkpoint: Path, name: str) -> Path | None:
    """A file in the log folder of the run that wrote a checkpoint, or beside a checkpoint that is in no such folder."""
    folder = checkpoint.absolute().parent
    for inner in (INTERPOLATED, "checkpoints"):
        folder = folder.parent if folder.name == inner else folder
    return folder / name if (folder / name).is_file() else None
