"""Train with several processes or nodes: python examples/several_nodes.py

The same file, unchanged, is one process alone or one of many:

    torchrun --standalone --nproc-per-node 2 examples/several_nodes.py     # two processes (GPUs, where there are some)

    # two nodes with four GPUs each; on both, and NODE is 0 on one and 1 on the other
    torchrun --nnodes 2 --nproc-per-node 4 --node-rank NODE --master-addr FIRST_HOST --master-port 29500 \
        examples/several_nodes.py

    sbatch examples/several_nodes.sbatch                                   # the same under SLURM

Every process takes a batch of its own and ranks the candidates of all for its queries: two processes with 32 pairs
each follow the gradients of one with 64. Batch normalisation stays with each process: Trainer(sync_batchnorm=True).
"""

import os

from lightning import Trainer, seed_everything

from vse_lightning import LadderLoss, RetrievalMetrics
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder


def processes_and_nodes() -> tuple[int, int]:
    """How many processes run on each node, and how many nodes: torchrun and SLURM say so, otherwise one."""
    processes = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1
    nodes = os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES") or 1
    return int(processes), int(nodes)


def main() -> None:
    seed_everything(0)
    data = ImageTextDataModule(ShapesSource(num_images=200, image_size=32), "source", batch_size=32, num_workers=0)
    model = DualEncoder(
        TimmImageEncoder("test_resnet", pretrained=False, embed_dim=64, image_size=32),
        GRUTextEncoder(word_dim=64, embed_dim=64, min_count=1),
        relevance_loss=LadderLoss(thresholds=(0.5,)),
        retrieval_metrics=RetrievalMetrics(coherent_ks=(10,)),
    )
    devices, num_nodes = processes_and_nodes()
    trainer = Trainer(
        devices=devices,
        num_nodes=num_nodes,
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
