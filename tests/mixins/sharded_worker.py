"""One process of a group: training under a Trainer with DDP and with FSDP2, whole batches and in chunks.

python sharded_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE
"""

import logging
import os
import sys
import warnings

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import distributed, nn
from torch.utils.data import DataLoader

from vse_lightning.losses import ContrastiveLoss, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.mixins import RelevanceLossMixin

PAIRS, STEPS = 12, 2
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Host(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))
        self.text = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 4))
        self.final = {}

    def retrieval_embeds(self, batch):
        return self.image(batch["pictures"]), self.text(batch["words"])

    def on_train_end(self):
        weights = {name: getattr(value, "full_tensor", lambda v=value: v)() for name, value in self.named_parameters()}
        self.final = {name: value.detach().clone() for name, value in weights.items()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Mixed(RelevanceLossMixin, Host):
    pass


class Sharded(Mixed):
    def configure_model(self):
        from torch.distributed.fsdp import fully_shard

        for tower in (self.image, self.text):
            fully_shard(tower, mesh=self.device_mesh["data_parallel"])


def batches_of(rank, world_size):
    """This process's shares of all batches."""
    generator = torch.Generator().manual_seed(1)
    share = PAIRS // world_size
    for number in range(STEPS):
        whole = {
            "pictures": torch.randn(PAIRS, 6, generator=generator),
            "words": torch.randn(PAIRS, 5, generator=generator),
            "text_features": torch.randn(PAIRS, 7, generator=generator),
            "image_ids": torch.arange(PAIRS) // 2 + PAIRS * number,
        }
        whole["text_image_ids"] = whole["image_ids"]
        yield {name: rows[rank * share : (rank + 1) * share] for name, rows in whole.items()}


def weights(kind, chunk_size, rank, world_size):
    losses = {"pairs": ContrastiveLoss(), "ndcg": SmoothNDCGLoss(temperature=0.1)}
    loss = WeightedSumLoss(losses, {"pairs": 1.0, "ndcg": 0.5})
    model = (Sharded if kind == "fsdp2" and world_size > 1 else Mixed)(
        relevance_loss=loss, relevance_chunk_size=chunk_size
    )
    strategy = {"ddp": "ddp", "fsdp2": ModelParallelStrategy(world_size, 1)}[kind] if world_size > 1 else "auto"
    loader = DataLoader(list(batches_of(rank, world_size)), batch_size=None, shuffle=False)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=world_size, strategy=strategy, use_distributed_sampler=False, **QUIET
    )
    trainer.fit(model, loader)
    return model.final


def weights_after_training(rank, world_size):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return {
        f"{kind}, chunks of {size}": weights(kind, size, rank, world_size)
        for kind in ("ddp", "fsdp2")
        for size in (None, 2)
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    rank, world_size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID")
    values = (rank, rank, world_size, world_size, 0, "test")
    os.environ |= {name: str(value) for name, value in zip(names, values, strict=True)}  # as torchrun does
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}  # the group is there already
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world_size)
    result = weights_after_training(rank, world_size)
    if rank == 0:
        torch.save(result, sys.argv[4])
    distributed.destroy_process_group()
