"""``--ckpt_path last``: the newest checkpoint of the run folder, in whichever version it is.

Lightning looks only into the folder of the new version, where there is none yet, and starts from scratch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.array_files import require_whole_zip
from vse_lightning.models.checkpoints.opening import read_checkpoint

_PLACES = ("checkpoints", "version_*/checkpoints", "*/checkpoints", "*/version_*/checkpoints", "*/*/checkpoints")
"""Where loggers and a trainer without one put checkpoints, below the folder that they are given."""


def newest_checkpoint(trainer: Any) -> tuple[Path | None, str]:
    """The newest checkpoint that a trainer's earlier runs left whole, or None, and a line that says what was found.

    The trainer is its part of the parsed configuration.
    """
    roots = list(dict.fromkeys(map(Path, _roots(trainer))))
    folders = [*roots, *(folder for root in roots for place in _PLACES for folder in root.glob(place))]
    files = {file for folder in folders for file in folder.glob("*.ckpt") if file.is_file()}
    lines = []
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            require_whole_zip(f"checkpoint {file}", file)
            step = read_checkpoint(file).get("global_step")
        except ValueError as error:  # killed while it was written
            lines.append(f"left out: {error}")
            continue
        return file, "\n".join([*lines, f"--ckpt_path last: {file}, step {step}"])
    where = ", ".join(map(str, roots))
    return None, "\n".join([*lines, f"--ckpt_path last: there is no checkpoint yet in {where}: starting from scratch"])


def keep_best_of(checkpoint: Path, callbacks: list[Any]) -> None:
    """Let a resumed run write where the earlier part did, so that the best checkpoint of that still counts."""
    folder, states = checkpoint.parent, read_checkpoint(checkpoint).get("callbacks", {})
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            # Lightning forgets the best where the same folder was written otherwise, as a relative path
            before = states.get(callback.state_key, {}).get("dirpath")
            same = before is not None and Path(before).absolute() == folder.absolute()
            callback.dirpath = before if same else str(folder.absolute())


def _roots(trainer: Any) -> Iterator[str]:
    for part in (*_listed(trainer.get("callbacks")), *_listed(trainer.get("logger"))):
        arguments = part.get("init_args", {}) if hasattr(part, "get") else {}
        given = arguments.get("dirpath") or arguments.get("save_dir")
        if given:
            yield str(given)
    yield str(trainer.get("default_root_dir") or ".")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
