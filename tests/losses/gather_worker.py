"""One process of a group that trains on a loss from embeddings under DistributedDataParallel, as plain PyTorch has it.

python gather_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE
"""

import sys

import torch
from label_table import Table
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vse_lightning import RetrievalTargets
from vse_lightning.losses import (
    ContrastiveLoss,
    HierarchicalAPLoss,
    KendallLoss,
    LadderLoss,
    RankedContrastiveLoss,
    RelevanceMarginLoss,
    SigmoidLoss,
    SmoothNDCGLoss,
    SymmetricMultiSimilarityLoss,
    TripletLoss,
    WeightedSumLoss,
)

IMAGE_IDS = torch.tensor([0, 1, 2, 3, 0, 4, 5, 1, 6, 7, 8])  # images 0 and 1 come twice, on different processes
TEXT_IMAGE_IDS = torch.tensor([0, 1, 2, 3, 0, 4, -1, 1, 6, 7, 8])  # one text describes no image
SHARES = {1: [11], 2: [10, 1], 3: [4, 4, 3]}  # one process may have a single pair
ALL = ("i2t", "t2i", "i2i", "t2t")
LOSSES = {
    "triplet": lambda: TripletLoss(directions=ALL),
    "sum": lambda: TripletLoss(reduction="sum", directions=("i2t", "t2t")),
    "ladder": lambda: LadderLoss(thresholds=(0.5,), directions=("t2i", "i2i")),
    "ndcg": lambda: SmoothNDCGLoss(0.1, directions=ALL),
    "hierarchical_ap": lambda: HierarchicalAPLoss(0.1, directions=ALL),
    "kendall": lambda: KendallLoss(directions=ALL),
    "contrastive": lambda: ContrastiveLoss(relevance_weight=0.3, directions=ALL),
    "near": lambda: TripletLoss(positive_threshold=0.6, directions=ALL),
    "relevance_margin": lambda: RelevanceMarginLoss(directions=ALL),
    "sms": lambda: SymmetricMultiSimilarityLoss(min_gap=0.3, directions=ALL),
    "rince": lambda: RankedContrastiveLoss(directions=ALL),
    "siglip": lambda: SigmoidLoss(relevance_weight=0.5, directions=ALL),
    "pairs": lambda: SigmoidLoss(),
    "cusa": lambda: WeightedSumLoss(
        {"pairs": ContrastiveLoss(), "within": ContrastiveLoss(relevance_weight=1.0, directions=("i2i", "t2t"))},
        {"pairs": 1.0, "within": 0.5},
    ),
}


class Towers(nn.Module):
    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text, self.loss = nn.Linear(5, 4), nn.Linear(6, 4), loss

    def forward(self, pictures, words, targets):
        return self.loss.from_embeddings(self.image(pictures), self.text(words), targets, gather=True)


def share_of(rank, world_size, labels):
    generator = torch.Generator().manual_seed(1)
    pictures, words = torch.randn(9, 5, generator=generator)[IMAGE_IDS], torch.randn(11, 6, generator=generator)
    features = torch.randn(11, 7, generator=generator)
    start = sum(SHARES[world_size][:rank])
    rows = slice(start, start + SHARES[world_size][rank])
    found = {"table": {"relevance": Table()}, "features": {"text_features": features[rows]}, "pairs": {}}[labels]
    text_ids = torch.arange(11)[rows]
    texts = IMAGE_IDS if labels == "features" else TEXT_IMAGE_IDS  # every image needs a text of its own
    targets = RetrievalTargets(IMAGE_IDS[rows], texts[rows], text_ids=text_ids, **found)
    if labels == "pairs":
        targets = RetrievalTargets(None, None)
    return pictures[rows], words[rows], targets


def train(rank, world_size):
    """Weights after a step, by labels and loss; and the mean of the processes' losses."""
    results = {}
    for labels in ("table", "features", "pairs"):
        for name, make_loss in LOSSES.items():
            towers = Towers(make_loss())
            if labels == "pairs" and towers.loss.needs_relevance:
                continue
            model = DistributedDataParallel(towers) if world_size > 1 else towers
            optimizer = torch.optim.SGD(towers.parameters(), lr=1.0)
            value = model(*share_of(rank, world_size, labels))
            value.backward()
            optimizer.step()
            mean = value.detach().clone()
            if world_size > 1:
                distributed.all_reduce(mean)
            state = {key: parameter.detach() for key, parameter in towers.named_parameters()}
            results[f"{labels}/{name}"] = state | {"value": mean / world_size}
    return results


def a_block_is_refused(world_size):
    try:
        targets = RetrievalTargets([0, 1], [0, 1], relevance=torch.rand(2, 2))
        LadderLoss().from_embeddings(torch.rand(2, 3), torch.rand(2, 3), targets, gather=True)
    except ValueError as error:
        return "reach neither the texts of other processes" in str(error)
    return world_size == 1


if __name__ == "__main__":
    rank, world_size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world_size)
    result = train(rank, world_size)
    if not a_block_is_refused(world_size):
        sys.exit(1)
    if rank == 0:
        torch.save(result, sys.argv[4])
    distributed.destroy_process_group()
