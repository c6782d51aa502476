"""What a module embeds in predict, written to disk as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_whole, require_writable
from vse_lightning.embedding_files import FileFormat, ShardWriter, files_of_embeddings


class EmbeddingWriter(BasePredictionWriter):
    """Writes embeddings and ids in predict, each process in shards of its own, so that memory holds one shard at most.

    Arrays are ``image_embeds (N, D)``, ``text_embeds (M, D)``, ``image_ids (N,)``, ``text_image_ids (M,)`` and, where
    the module's targets have them, ``text_ids (M,)``. ``vse-lightning evaluate FOLDER`` reads them all, and so does
    ``vse_lightning.embedding_files.read_embeddings``. Call ``trainer.predict(..., return_predictions=False)``, or
    Lightning keeps everything in memory as well.

    The LightningModule inherits from :class:`~vse_lightning.mixins.RetrievalMetricsMixin`, or its ``predict_step``
    returns a dict of these arrays. With several dataloaders each gets a subfolder.

    Args:
        folder: where the files go, made if need be; it must hold none of an earlier run. Default: ``embeddings`` in the
            log folder.
        file_format: ``"safetensors"``, or ``"npy"``: one file for each array of a shard (bfloat16 becomes float32).
        rows_per_shard: a shard is written as soon as it has so many rows, images and texts together.

    Attributes:
        path: the folder that was written last.
        images: rows of images in it, of all processes and dataloaders.
        texts: rows of texts in it.

    Raises:
        ValueError: if an argument is out of its range.
    """

    @typed
    def __init__(
        self,
        folder: str | Path | None = None,
        file_format: FileFormat = "safetensors",
        rows_per_shard: int = 65_536,
    ) -> None:
        super().__init__(write_interval="batch")
        require_whole("rows_per_shard", rows_per_shard)
        self.folder = None if folder is None else Path(folder).expanduser()
        self.file_format: FileFormat = file_format
        self.rows_per_shard = rows_per_shard
        self.path: Path | None = None
        self.images = self.texts = 0
        self._shards: list[ShardWriter] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fail before the work begins, not after it.

        Raises:
            OSError: the folder cannot be written.
            ValueError: it holds embeddings of an earlier run.
        """
        if stage != "predict":
            return
        super().setup(trainer, pl_module, stage)
        log_folder = Path(trainer.log_dir or trainer.default_root_dir)  # asks the other processes too
        self.path = log_folder / "embeddings" if self.folder is None else self.folder
        require_writable(self.path, "folder must be one that can be written")
        earlier = files_of_embeddings(self.path)
        message = "folder must hold no embeddings of an earlier run, got {} files of one in {}: remove them, or choose "
        require(not earlier, message + "another folder", len(earlier), self.path)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room for the rows of each dataloader."""
        folder = self.path
        if folder is None:
            raise RuntimeError("setup was not called")
        loaders = len(trainer.num_predict_batches)
        folders = [folder] if loaders == 1 else [folder / f"dataloader_idx_{loader}" for loader in range(loaders)]
        for made in folders:
            made.mkdir(exist_ok=True)
        processes = trainer.global_rank, trainer.world_size
        self._shards = [ShardWriter(of, self.file_format, self.rows_per_shard, *processes) for of in folders]

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Take what ``predict_step`` returned.

        Raises:
            TypeError: it is no dict of embeddings and ids.
        """
        self._shards[dataloader_idx].add(_checked_prediction(prediction, pl_module))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is left, and count the rows of all processes."""
        for shards in self._shards:
            shards.close()
        counts = [sum(shards.images for shards in self._shards), sum(shards.texts for shards in self._shards)]
        total = trainer.strategy.reduce(torch.tensor(counts, device=trainer.strategy.root_device), reduce_op="sum")
        self.images, self.texts = map(int, total)
        self._shards = []
        rank_zero_info(f"Embeddings of {self.images:,} images and {self.texts:,} texts: {self.path}")


def _checked_prediction(prediction: Any, pl_module: LightningModule) -> Mapping[str, Tensor]:
    needed = ("image_embeds", "text_embeds", "image_ids", "text_image_ids")
    if isinstance(prediction, Mapping) and all(isinstance(prediction.get(name), Tensor) for name in needed):
        return prediction
    found = f"a dict of {list(prediction)}" if isinstance(prediction, Mapping) else type(prediction).__name__
    raise TypeError(
        f"{type(pl_module).__name__}: predict_step must return a dict of the tensors {', '.join(needed)} for "
        f"EmbeddingWriter, got {found}. RetrievalMetricsMixin supplies such a step to a module that has none of its "
        "own, as soon as it is given retrieval_metrics (or RelevanceLossMixin a relevance_loss)"
    )
