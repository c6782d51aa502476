"""Checkpoints that are whole or not there, and whose damage is noticed when they are read."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from vse_lightning.array_files import require_whole_zip
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
            require_whole_zip(f"checkpoint {path}", Path(path))
        return super().load_checkpoint(path, *args, **kwargs)
