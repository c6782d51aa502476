"""One process of a group: training with every loss under DistributedDataParallel; saves the weights.

python ddp_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE
"""

import sys

import torch
from label_table import Table
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
    "within": lambda: ContrastiveLoss(relevance_weight=1.0, directions=("i2i", "t2t")),
    "every direction": lambda: TripletLoss(positive_threshold=0.6, directions=("i2t", "t2i", "i2i", "t2t")),
    "cusa": lambda: WeightedSumLoss(
        {"pairs": ContrastiveLoss(), "within": KendallLoss(directions=("i2i", "t2t"))}, {"pairs": 1.0, "within": 0.5}
    ),
}
QUEUED = ("hardest", "ladder", "within", "every direction", "cusa")


class Retriever(RelevanceLossMixin, nn.Module):
    automatic_optimization = True  # all that the mixin asks of a LightningModule here, and torch alone imports faster

    def __init__(self, labels, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(0)
        self.image, self.text, self.labels = nn.Linear(5, 4), nn.Linear(6, 4), labels

    def retrieval_embeds(self, batch):
        return self.image(batch["pictures"]), self.text(batch["words"])

    def retrieval_targets(self, batch):
        image_ids = batch["image_ids"]
        features = batch["features"] if self.labels == "features" else None
        return RetrievalTargets(
            image_ids,
            image_ids,
            text_ids=batch["rows"],
            relevance=None if features is not None else Table(),
            text_features=features,
        )

    def forward(self, batch):
        return self.training_step(batch, 0)


def batch_of(rank, world_size, number=0):
    """This process's share of a batch; no image is in two batches."""
    generator = torch.Generator().manual_seed(1 + number)
    whole = {
        "pictures": torch.randn(9, 5, generator=generator)[IMAGE_IDS],
        "words": torch.randn(11, 6, generator=generator),
        "features": torch.randn(11, 7, generator=generator),
        "rows": torch.arange(11) + 11 * number,
        "image_ids": IMAGE_IDS + 9 * number,
    }
    start = sum(SHARES[world_size][:rank])
    return {name: rows[start : start + SHARES[world_size][rank]] for name, rows in whole.items()}


def trained(module, rank, world_size, steps):
    model = DistributedDataParallel(module) if world_size > 1 else module
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0 / steps)
    for number in range(steps):
        optimizer.zero_grad()
        model(batch_of(rank, world_size, number)).backward()
        optimizer.step()
    return {key: parameter.detach() for key, parameter in module.named_parameters()}


def weights_after_training(rank, world_size):
    """By labels and loss, after a step; with a queue after two, as the first finds it empty."""
    weights = {}
    for labels in ("table", "features"):
        for name, loss in LOSSES.items():
            weights[f"{labels}/{name}"] = trained(Retriever(labels, relevance_loss=loss()), rank, world_size, 1)
    for name in QUEUED:
        module = Retriever("table", relevance_loss=LOSSES[name](), relevance_queue_size=9)
        weights[f"queue/{name}"] = trained(module, rank, world_size, 2)
    return weights


if __name__ == "__main__":
    rank, world_size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world_size)
    result = weights_after_training(rank, world_size)
    if rank == 0:
        torch.save(result, sys.argv[4])
    distributed.destroy_process_group()
