"""A fit with interpolated weights in several real processes: what one of them saved, as JSON."""

import json
import sys
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.callbacks import WeightInterpolation


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


def found(folder, processes):
    callback, model = WeightInterpolation(0.5), Towards()
    trainer = Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_epochs=1,
        logger=False,
        callbacks=[callback, ModelCheckpoint(folder, monitor="val/error")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(torch.tensor([1.0, 3.0])), batch_size=2 // processes)
    trainer.fit(model, loader, loader)
    saved = torch.load(callback.path, weights_only=True)["state_dict"]["place"].item()
    return {"values": callback.values, "saved": saved, "place": model.place.item()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    output = Path(sys.argv[1])
    result = found(output.parent / "two", processes=2)
    if torch.distributed.get_rank() == 0:
        output.write_text(json.dumps(result))
