"""Checkpoints that are whole or not there, and whose damage is noticed when they are read."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from vse_lightning.checks import require
from vse_lightning.whole_files import whole_file


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints as :mod:`vse_lightning.whole_files` does, and checks those that training goes on from.

    Lightning's own writes into the folder for temporary files and moves; to another disk that is a copy, which a kill
    cuts off. The command ``fit`` uses this by itself; in Python it is ``Trainer(plugins=[CheckpointFiles()])``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a local file; all else as Lightning does.

        Raises:
            OSError: the disk is full; the message names the checkpoint.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(path)) as written:
            torch.save(checkpoint, written)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged.
        """
        if Path(path).is_file():
            require_whole_checkpoint(Path(path))
        return super().load_checkpoint(path, *args, **kwargs)


def require_whole_checkpoint(path: Path) -> None:
    """Raise a ``ValueError`` if a checkpoint is damaged: PyTorch writes checksums, at which it does not look again.

    A gigabyte takes half a second.
    """
    with path.open("rb") as file:
        start = file.read(4)
    require(bool(start), "checkpoint {} is damaged: it is empty", path)
    if start != b"PK\x03\x04":  # of a format without checksums, or no checkpoint, as whoever reads it will say
        return
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # what is fed anything raises anything
        raise ValueError(f"checkpoint {path} is damaged, as a file that was cut off ({error})") from error
    require(damaged is None, "checkpoint {} is damaged: the checksum of {} differs", path, damaged)
