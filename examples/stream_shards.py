"""Train on shards that nobody holds in memory, with graded labels made per batch: python examples/stream_shards.py

Rendered scenes with five captions each are written as WebDataset tars first. What is printed on the way: the most
memory so far, and pairs per second. Kill it (also with -9) and start it again: it goes on with the next batch.

    python examples/stream_shards.py --images 20000 --folder /tmp/shapes       # 100,000 pairs
"""

import argparse
import io
import json
import tarfile
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning import ContrastiveLoss, RetrievalMetrics, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.data import ImageTextDataModule, ShapesSource, StreamingSource
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder
from vse_lightning.relevance import SBERTRelevance


def write_shards(folder: Path, images: int, shards: int) -> None:
    """Scenes as ``17.png`` and ``17.json``; yours may hold any pictures, and captions as ``.txt`` too."""
    folder.mkdir(parents=True)
    source = ShapesSource(num_images=images, image_size=32, seed=1)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:04}.tar", "w") as tar:
            for image_id in range(shard, images, shards):
                png = io.BytesIO()
                source.load_image(image_id).save(png, "PNG")
                captions = source.captions[5 * image_id : 5 * image_id + 5]
                for ending, content in (("png", png.getvalue()), ("json", json.dumps(captions).encode())):
                    member = tarfile.TarInfo(f"{image_id}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


class MemoryAndSpeed(Callback):
    """Prints every so many steps the most memory that this process has held so far, and how fast it is."""

    def __init__(self, every: int) -> None:
        self.every, self.started = every, perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0:
            seconds, self.started = perf_counter() - self.started, perf_counter()
            pairs = self.every * trainer.datamodule.batch_size
            line = f"step {trainer.global_step:>5}  loss {float(outputs['loss']):.4f}  {pairs / seconds:6.0f} pairs/s"
            print(f"{line}  {getrusage(RUSAGE_SELF).ru_maxrss / 2**10:6.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on a stream of shards.")
    parser.add_argument("--folder", type=Path, default=Path("shapes_shards"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--every", type=int, default=2)
    given = parser.parse_args()
    shards = given.folder / "train"
    if not shards.exists():
        write_shards(shards, given.images, shards=16)
    seed_everything(0)
    evaluation = ShapesSource(num_images=400, image_size=32)  # other scenes; its training captions make the vocabulary
    data = ImageTextDataModule(
        StreamingSource(str(shards), "png", "json", evaluation),
        relevance=SBERTRelevance("bundled"),
        batch_labels=True,
        num_workers=given.workers,
    )
    model = DualEncoder(
        TimmImageEncoder("test_resnet", pretrained=False, embed_dim=64, image_size=32),
        GRUTextEncoder(word_dim=64, embed_dim=64, min_count=1),
        WeightedSumLoss({"infonce": ContrastiveLoss(), "ndcg": SmoothNDCGLoss()}, {"infonce": 1.0, "ndcg": 1.0}),
        RetrievalMetrics(),
    )
    saves = ModelCheckpoint(given.folder, "{step}", every_n_train_steps=given.every)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, callbacks=[saves, MemoryAndSpeed(given.every)]
    )
    saved = sorted(given.folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    trainer.fit(model, data, ckpt_path=saved[-1] if saved else None)
    trainer.test(model, data)


if __name__ == "__main__":
    main()
