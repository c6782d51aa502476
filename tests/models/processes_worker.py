"""Two processes with whole, sharded or interpolated weights: python processes_worker.py CLIP_FOLDER OUTPUT"""

import sys
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.callbacks import WeightInterpolation
from vse_lightning.losses import ContrastiveLoss, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.models import CLIPRetriever

PAIRS = 8
CASES = {
    "ddp": ("ddp", None),
    "ddp in chunks": ("ddp", 2),
    "fsdp2": ("fsdp2", None),
    "fsdp2 in chunks": ("fsdp2", 2),
}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1.0)


class Sharded(CLIPRetriever):
    """Each process holds a share of each weight: what somebody with a large model writes, and no more."""

    def configure_model(self):
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        model = self.backbone.model
        for tower in self.backbone.towers().values():
            for layer in tower.encoder.layers:
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
        scalars = set(model.parameters(recurse=False))  # which cannot be cut
        fully_shard(model, mesh=self.device_mesh["data_parallel"], ignored_params=scalars)
        for method in ("get_image_features", "get_text_features"):
            register_fsdp_forward_method(model, method)


def pairs(folder):
    """Rows of pictures and captions, with features that grade them."""
    retriever = CLIPRetriever(str(folder))
    draw = torch.Generator().manual_seed(0)
    text = retriever.text_transform()([f"the red ball {'dog ' * (number % 3)}" for number in range(PAIRS)])
    image, features = torch.randn(PAIRS, 3, 32, 32, generator=draw), torch.randn(PAIRS, 4, generator=draw)
    return [
        (image[row], {name: tokens[row] for name, tokens in text.items()}, row, features[row]) for row in range(PAIRS)
    ]


def collate(rows):
    images, texts, ids, features = zip(*rows, strict=True)
    text = {name: torch.stack([each[name] for each in texts]) for name in texts[0]}
    ids = torch.tensor(ids)
    batch = {"image": torch.stack(images), "text": text, "image_ids": ids, "text_image_ids": ids, "text_ids": ids}
    return batch | {"text_features": torch.stack(features)}


def trainer_of(processes, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", devices=processes, max_epochs=1, **quiet, **options)


def weights_after_a_step(folder, strategy, chunk_size, processes):
    loss = WeightedSumLoss(
        {"infonce": ContrastiveLoss(0.1, learnable=False), "ndcg": SmoothNDCGLoss(0.1)}, {"infonce": 1.0, "ndcg": 1.0}
    )
    made = Sharded if strategy == "fsdp2" else CLIPRetriever
    model = made(str(folder), relevance_loss=loss, relevance_chunk_size=chunk_size, optimizer=sgd)
    model.eval()  # no dropout, of which each process would draw its own
    how = ModelParallelStrategy(processes, 1) if strategy == "fsdp2" else strategy
    trainer = trainer_of(processes, strategy=how, enable_checkpointing=False)
    trainer.fit(model, DataLoader(pairs(folder), batch_size=PAIRS // processes, collate_fn=collate))
    state = model.backbone.model.state_dict()
    return {name: weight.full_tensor() if hasattr(weight, "full_tensor") else weight for name, weight in state.items()}


class Towards(LightningModule):
    """A step goes beyond the mean of the processes' places."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return ((self.place - batch[0]) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/error", ((self.place - batch[0]) ** 2).mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.9)


def interpolated(folder, processes):
    """The weight after a step and what is saved of its mean, with what validation says of it."""
    callback, model = WeightInterpolation(0.5), Towards()
    callbacks = [callback, ModelCheckpoint(folder, monitor="val/error")]
    trainer = trainer_of(processes, strategy="ddp" if processes > 1 else "auto", callbacks=callbacks)
    loader = DataLoader(TensorDataset(torch.tensor([1.0, 3.0])), batch_size=2 // processes)
    trainer.fit(model, loader, loader)
    saved = torch.load(callback.path, weights_only=True)["state_dict"]
    return {"after": model.place.detach(), "saved": saved["place"], "error": torch.tensor(callback.values["val/error"])}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {name: weights_after_a_step(sys.argv[1], *case, processes=2) for name, case in CASES.items()}
    output = Path(sys.argv[2])
    found["interpolated"] = interpolated(output.parent / "two", processes=2)
    if torch.distributed.get_rank() == 0:
        torch.save(found, output)
