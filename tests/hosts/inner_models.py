"""LightningModules whose embeddings lie somewhere inside what an inner model returns."""

import torch
from clip_like import DIM, WIDTH, WORDS, CLIPOutput, image_tower, sgd, text_tower
from lightning import LightningModule
from torch import nn
from torch.nn import functional

PARTS = 3


class RegionsAndWords(nn.Module):
    """Returns regions, a picture, words, a text and strings; adds to its batch."""

    def __init__(self):
        super().__init__()
        self.image_net = nn.Sequential(nn.Linear(WIDTH, 10), nn.BatchNorm1d(10), nn.Linear(10, PARTS * DIM))
        self.text_net = nn.Sequential(nn.Linear(WORDS, 10), nn.BatchNorm1d(10), nn.Linear(10, PARTS * DIM))

    def forward(self, batch):
        batch["regions"] = self.image_net(batch["imgs"]).unflatten(1, (PARTS, DIM))
        batch["words"] = self.text_net(batch["caption_ids"]).unflatten(1, (PARTS, DIM))
        return batch["regions"], batch["regions"].mean(1), batch["words"], batch["words"].mean(1), batch["path"]


class LocalAndGlobal(LightningModule):
    """The style of medical pre-training: a loss of regions and words beside that of pictures and reports."""

    def __init__(self):
        super().__init__()
        self.model = RegionsAndWords()

    def shared_step(self, batch, split):
        regions, image, words, report, paths = self.model(batch)
        assert len(paths) == len(image)
        scores = image @ report.T
        loss = functional.cross_entropy(scores, torch.arange(len(scores))) + functional.mse_loss(regions, words)
        self.log(f"{split}_loss", loss)
        return loss, scores

    def training_step(self, batch, batch_idx):
        return self.shared_step(batch, "train")[0]

    def validation_step(self, batch, batch_idx):
        return self.shared_step(batch, "val")[0]

    def configure_optimizers(self):
        return sgd(self)


class MeanAndSpread(nn.Module):
    """Encodes into a distribution: a token for its mean and one for the logarithm of its spread."""

    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 10), nn.Dropout(0.2), nn.Linear(10, 2 * DIM))

    def forward(self, inputs):
        return self.net(inputs["x"]).unflatten(1, (2, DIM))


class Variational(LightningModule):
    """The style of text-to-motion retrieval: one method encodes either side, twice a step, and samples."""

    def __init__(self):
        super().__init__()
        self.motion_encoder, self.text_encoder = MeanAndSpread(WIDTH), MeanAndSpread(WORDS)

    def encode(self, inputs, modality):
        mean, spread = (self.text_encoder if modality == "text" else self.motion_encoder)(inputs).unbind(1)
        return mean + (spread / 2).exp() * torch.randn_like(mean), mean

    def training_step(self, batch, batch_idx):
        texts, text_means = self.encode(batch["text_x_dict"], "text")
        motions, motion_means = self.encode(batch["motion_x_dict"], "motion")
        return functional.smooth_l1_loss(texts, motions) + (text_means - motion_means).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/latent", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return sgd(self)


class TwoTowers(nn.Module):
    """What transformers calls a CLIPModel."""

    def __init__(self):
        super().__init__()
        self.vision_model, self.text_model = image_tower(), text_tower()

    def forward(self, pixel_values, input_ids):
        images, texts = self.vision_model(pixel_values), self.text_model(input_ids)
        return CLIPOutput(images, texts, images @ texts.T)


class HuggingFaceCLIP(LightningModule):
    """Fine-tunes a model of transformers: it hands on its batch and reads the logits of what comes back."""

    def __init__(self):
        super().__init__()
        self.clip = TwoTowers()

    def training_step(self, batch, batch_idx):
        logits = self.clip(**batch).logits_per_image
        return -functional.logsigmoid(logits * (2 * torch.eye(len(logits)) - 1)).mean()

    def validation_step(self, batch, batch_idx):
        self.log("Loss/Val", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return sgd(self)
