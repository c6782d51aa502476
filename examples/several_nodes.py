"""Train with several processes or nodes: python examples/several_nodes.py

The same file, unchanged, is one process alone or one of many:

    torchrun --standalone --nproc-per-node 2 examples/several_nodes.py     # two processes (GPUs, where there are some)

    # two nodes with four GPUs each; on both, and NODE is 0 on one and 1 on the other
    torchrun --nnodes 2 --nproc-per-node 4 --node-rank NODE --master-addr FIRST_HOST --master-port 29500 \
        examples/several_nodes.py

    sbatch examples/several_nodes.sbatch                                   # the same under SLURM

Every process takes a batch of its own and ranks the candidates of all for its queries: two processes with 32 pairs
each follow the gradients of one with 64. Batch normalisation stays with each process: Trainer(sync_batchnorm=True).

Batches that do not fit: --chunk_size 8 embeds so many pairs at a time and computes their activations again (GradCache).
Models that do not fit: --sharded splits the towers over the processes (FSDP2). Both train to the same weights; what it
takes is in examples/benchmarks/results/sizes.md.
"""

import argparse
import os

from lightning import Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import FSDPModule, fully_shard

from vse_lightning import LadderLoss, RetrievalMetrics
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.models import DualEncoder, TimmImageEncoder, TransformerTextEncoder


class ShardedDualEncoder(DualEncoder):
    """Each process holds a part of both towers; the loss averages what it learns itself."""

    def configure_model(self) -> None:
        """Shard once; for models of many layers, shard each layer before its tower."""
        for tower in (self.image_encoder, self.text_encoder):
            if self.device_mesh is not None and not isinstance(tower, FSDPModule):
                fully_shard(tower, mesh=self.device_mesh["data_parallel"])


def processes_and_nodes() -> tuple[int, int]:
    """How many processes run on each node, and how many nodes: torchrun and SLURM say so, otherwise one."""
    processes = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1
    nodes = os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES") or 1
    return int(processes), int(nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train with several processes or nodes.")
    parser.add_argument("--chunk_size", type=int, help="pairs embedded at a time")
    parser.add_argument("--sharded", action="store_true", help="FSDP2")
    given = parser.parse_args()
    seed_everything(0)
    data = ImageTextDataModule(ShapesSource(num_images=100, image_size=32), "source", batch_size=32, num_workers=0)
    model = (ShardedDualEncoder if given.sharded else DualEncoder)(
        TimmImageEncoder("test_vit", pretrained=False, embed_dim=64, image_size=32),
        TransformerTextEncoder("bundled", embed_dim=64, freeze=True),
        relevance_loss=LadderLoss(thresholds=(0.5,)),
        retrieval_metrics=RetrievalMetrics(coherent_ks=(10,)),
        relevance_chunk_size=given.chunk_size,
    )
    devices, num_nodes = processes_and_nodes()
    trainer = Trainer(
        devices=devices,
        num_nodes=num_nodes,
        strategy=ModelParallelStrategy(devices * num_nodes, 1) if given.sharded else "auto",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    processes = trainer.world_size
    print(f"process {trainer.global_rank + 1} of {processes}: {trainer.global_step} steps of {processes} x 32 pairs")
    trainer.test(model, data, verbose=False)
    if trainer.is_global_zero:
        for name, value in sorted(trainer.callback_metrics.items()):
            print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
