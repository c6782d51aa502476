"""One process of a group: a training step of every loss under DistributedDataParallel; saves the weights after it.

python ddp_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE
"""

import sys

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vse_lightning.losses import (
    ContrastiveLoss,
    KendallLoss,
    LadderLoss,
    LSEHLoss,
    SmoothNDCGLoss,
    TripletLoss,
    WeightedSumLoss,
)
from vse_lightning.mixins import RelevanceLossMixin, RetrievalTargets

IMAGE_IDS = torch.tensor([0, 1, 2, 3, 0, 4, 5, 1, 6, 7, 8])  # images 0 and 1 come twice, on different processes
SHARES = {1: [11], 2: [6, 5], 3: [4, 4, 3]}
LOSSES = {
    "hardest": TripletLoss,
    "all": lambda: TripletLoss(mining="all"),
    "soft": lambda: TripletLoss(mining="soft", temperature=0.1),
    "selective": lambda: TripletLoss(mining="selective", epsilon=0.1),
    "sum": lambda: TripletLoss(reduction="sum"),
    "ladder": lambda: LadderLoss(thresholds=(0.5,)),
    "lseh": LSEHLoss,
    "smooth_ndcg": lambda: SmoothNDCGLoss(temperature=0.1),
    "kendall": KendallLoss,
    "windows": lambda: KendallLoss(min_gap=0.05, window=2),
    "contrastive": lambda: ContrastiveLoss(relevance_weight=0.3),
    "bcls": lambda: WeightedSumLoss({"a": TripletLoss(), "b": KendallLoss()}, {"a": 1.0, "b": 0.5}),
}


class Table:
    """Relevance by ids from one small matrix."""

    relevance = torch.rand(9, 11, generator=torch.Generator().manual_seed(3))

    def block(self, image_ids, text_ids):
        return self.relevance[image_ids][:, text_ids]


class Retriever(RelevanceLossMixin, nn.Module):
    automatic_optimization = True  # all that the mixin asks of a LightningModule here, and torch alone imports faster

    def __init__(self, labels, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(0)
        self.image, self.text, self.labels = nn.Linear(5, 4), nn.Linear(6, 4), labels

    def retrieval_embeds(self, batch):
        return self.image(batch["pictures"]), self.text(batch["words"])

    def retrieval_targets(self, batch):
        rows = batch["rows"]
        features = batch["features"] if self.labels == "features" else None
        return RetrievalTargets(
            IMAGE_IDS[rows],
            IMAGE_IDS[rows],
            text_ids=rows,
            relevance=None if features is not None else Table(),
            text_features=features,
        )

    def forward(self, batch):
        return self.training_step(batch, 0)


def batch_of(rank, world_size):
    generator = torch.Generator().manual_seed(1)
    whole = {
        "pictures": torch.randn(9, 5, generator=generator)[IMAGE_IDS],
        "words": torch.randn(11, 6, generator=generator),
        "features": torch.randn(11, 7, generator=generator),
        "rows": torch.arange(11),
    }
    start = sum(SHARES[world_size][:rank])
    return {name: rows[start : start + SHARES[world_size][rank]] for name, rows in whole.items()}


def weights_after_a_step(rank, world_size):
    weights = {}
    for labels in ("table", "features"):
        for name, loss in LOSSES.items():
            module = Retriever(labels, relevance_loss=loss())
            model = DistributedDataParallel(module) if world_size > 1 else module
            optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
            value = model(batch_of(rank, world_size))
            value.backward()
            optimizer.step()
            state = {key: parameter.detach() for key, parameter in module.named_parameters()}
            weights[f"{labels}/{name}"] = state
    return weights


if __name__ == "__main__":
    rank, world_size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world_size)
    result = weights_after_a_step(rank, world_size)
    if rank == 0:
        torch.save(result, sys.argv[4])
    distributed.destroy_process_group()
