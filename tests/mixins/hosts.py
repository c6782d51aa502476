"""Hosts in the style of people's own retrieval modules: tuple batches, their own loss."""

import torch
from lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PairHost(LightningModule):
    """Has its own training step with its own loss, and bare ``save_hyperparameters()``."""

    def __init__(self, width=4, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.image, self.text = nn.Linear(6, width), nn.Linear(5, width)
        self.embed_calls = 0

    def retrieval_embeds(self, batch):
        self.embed_calls += 1
        return self.image(batch[0]), self.text(batch[1])

    def training_step(self, batch, batch_idx):
        images, texts = self.retrieval_embeds(batch)
        loss = (images - texts).square().mean()
        self.log("train/host", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class BareHost(LightningModule):
    """Defines no step at all."""

    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)

    def retrieval_embeds(self, batch):
        return self.image(batch[0]), self.text(batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def pairs(count=16, batch_size=8):
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(count, 6, generator=generator), torch.randn(count, 5, generator=generator)
    return DataLoader(TensorDataset(images, texts), batch_size=batch_size)
