"""LightningModules in the style of public CLIP and VSE code: hosts that never heard of this package.

Each has its own batches, loss, names and habits. They are small; nothing in them is made to be convenient for us.
"""

import copy
from typing import NamedTuple

import torch
from lightning import LightningModule
from torch import nn
from torch.nn import functional

WIDTH, WORDS, DIM = 12, 9, 6


def image_tower():
    return nn.Sequential(nn.Linear(WIDTH, 10), nn.ReLU(), nn.Linear(10, DIM))


def text_tower():
    return nn.Sequential(nn.Linear(WORDS, 10), nn.Tanh(), nn.Linear(10, DIM))


def sgd(module, lr=0.05):
    return torch.optim.SGD(module.parameters(), lr=lr)


class TupleCLIP(LightningModule):
    """The usual CLIP fine-tuner: tuple batches, forward returns logits, a learnable logit scale, no ids."""

    def __init__(self, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.visual, self.transformer = image_tower(), text_tower()
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_image(self, image):
        return self.visual(image)

    def encode_text(self, text):
        return self.transformer(text)

    def forward(self, image, text):
        image_features = functional.normalize(self.encode_image(image), dim=-1)
        text_features = functional.normalize(self.encode_text(text), dim=-1)
        logits_per_image = self.logit_scale.exp() * image_features @ text_features.t()
        return logits_per_image, logits_per_image.t()

    def training_step(self, batch, batch_idx):
        image, text = batch
        per_image, per_text = self(image, text)
        labels = torch.arange(len(per_image), device=per_image.device)
        loss = (functional.cross_entropy(per_image, labels) + functional.cross_entropy(per_text, labels)) / 2
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        image, text = batch
        per_image, _ = self(image, text)
        hits = per_image.argmax(dim=1) == torch.arange(len(per_image), device=per_image.device)
        self.log("val_acc", hits.float().mean(), prog_bar=True)

    def test_step(self, batch, batch_idx):
        return self.validation_step(batch, batch_idx)

    def configure_optimizers(self):
        return sgd(self, self.hparams.lr)


class DictOutput(LightningModule):
    """Hugging Face style: dict batches with file names as ids, a step that returns a dict."""

    def __init__(self):
        super().__init__()
        self.vision_model, self.text_model = image_tower(), text_tower()

    def shared_step(self, batch, stage):
        image_embeds = self.vision_model(batch["pixel_values"])
        text_embeds = self.text_model(batch["input_ids"])
        loss = (1 - functional.cosine_similarity(image_embeds, text_embeds)).mean()
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "image_embeds": image_embeds, "text_embeds": text_embeds}

    def training_step(self, batch, batch_idx):
        return self.shared_step(batch, "train")

    def validation_step(self, batch, batch_idx):
        return self.shared_step(batch, "val")

    def test_step(self, batch, batch_idx):
        return self.shared_step(batch, "test")

    def configure_optimizers(self):
        return sgd(self)


class PopsFromBatch(LightningModule):
    """Empties its batch, because the Hugging Face model behind ``self.model`` would refuse the ids."""

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"image_proj": image_tower(), "text_proj": text_tower()})

    def forward(self, pixel_values, input_ids):
        return self.model["image_proj"](pixel_values) @ self.model["text_proj"](input_ids).T

    def training_step(self, batch, batch_idx):
        batch.pop("image_name")
        batch.pop("caption_number")
        scores = self(**batch)
        return functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))

    def validation_step(self, batch, batch_idx):
        self.log("val/own", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return sgd(self)


class NestedSteps(LightningModule):
    """test_step calls validation_step calls training_step; epoch ends call each other with arguments."""

    def __init__(self):
        super().__init__()
        self.image_encoder, self.text_encoder = image_tower(), text_tower()
        self.outputs, self.epochs_ended = [], []

    def forward(self, batch):
        return self.image_encoder(batch["image"]), self.text_encoder(batch["text"])

    def training_step(self, batch, batch_idx):
        images, texts = self(batch)
        return (images - texts).square().mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0, prefix="val"):
        loss = self.training_step(batch, batch_idx)
        self.outputs.append(loss)
        return loss

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return self.validation_step(batch, batch_idx, dataloader_idx, prefix="test")

    def on_validation_epoch_end(self, prefix="val"):
        self.log(f"{prefix}/mse", torch.stack(self.outputs).mean())
        self.epochs_ended.append(prefix)
        self.outputs.clear()

    def on_test_epoch_end(self):
        self.on_validation_epoch_end(prefix="test")

    def configure_optimizers(self):
        return sgd(self)


class Manual(LightningModule):
    """Optimises by hand, a tower at a time."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.img_enc, self.txt_enc = image_tower(), text_tower()

    def training_step(self, batch, batch_idx):
        images, texts = self.img_enc(batch[0]), self.txt_enc(batch[1])
        loss = (1 - functional.cosine_similarity(images, texts)).mean() + self.further_loss(batch)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss.detach()

    def further_loss(self, batch):
        return 0.0

    def validation_step(self, batch, batch_idx):
        self.img_enc(batch[0]), self.txt_enc(batch[1])

    def configure_optimizers(self):
        return [sgd(self.img_enc), sgd(self.txt_enc)]


class EMATeacher(LightningModule):
    """A student learns from pairs and from a slowly moving copy of itself, which runs in every step too."""

    def __init__(self):
        super().__init__()
        self.student = nn.ModuleDict({"image": image_tower(), "text": text_tower()})
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def run(self, towers, batch):
        return towers["image"](batch["images"]), towers["text"](batch["texts"])

    def training_step(self, batch, batch_idx):
        images, texts = self.run(self.student, batch)
        with torch.no_grad():
            old_images, old_texts = self.run(self.teacher, batch)
        return (images - old_texts).square().mean() + (texts - old_images).square().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for new, old in zip(self.student.parameters(), self.teacher.parameters(), strict=True):
            old.data.lerp_(new.data, 0.01)

    def validation_step(self, batch, batch_idx):
        self.run(self.student, batch)

    def configure_optimizers(self):
        return sgd(self.student)


class BuiltInSetup(LightningModule):
    """Makes its encoders when the Trainer sets it up, as those do that look at the data or the machine first."""

    def __init__(self, dim=DIM):
        super().__init__()
        self.save_hyperparameters()
        self.model = None

    def setup(self, stage):
        if self.model is None:
            torch.manual_seed(3)
            self.model = nn.Module()
            self.model.image_projection, self.model.text_projection = image_tower(), text_tower()

    def training_step(self, batch, batch_idx):
        images, texts = self.model.image_projection(batch[0]), self.model.text_projection(batch[1])
        return functional.triplet_margin_loss(images, texts, texts.roll(1, 0))

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return sgd(self)


class NormsAndDropout(LightningModule):
    """Batch normalisation and dropout: running its encoders twice would change what it learns."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(WIDTH, 10), nn.BatchNorm1d(10), nn.Dropout(0.3), nn.Linear(10, DIM))
        self.b = nn.Sequential(nn.Linear(WORDS, 10), nn.BatchNorm1d(10), nn.Dropout(0.3), nn.Linear(10, DIM))

    def forward(self, batch):
        return self.a(batch[0]), self.b(batch[1])

    def training_step(self, batch, batch_idx):
        images, texts = self(batch)
        return (1 - functional.cosine_similarity(images, texts)).mean() + functional.mse_loss(images, texts)

    def validation_step(self, batch, batch_idx):
        images, texts = self.forward(batch)
        self.log("val/mse", functional.mse_loss(images, texts))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class PairBatch(NamedTuple):
    """Named tensors, as a collate function of their own makes them."""

    pictures: torch.Tensor
    words: torch.Tensor
    numbers: torch.Tensor


class CLIPOutput:
    """What Hugging Face's CLIP returns, as far as it matters here."""

    def __init__(self, image_embeds, text_embeds, logits_per_image):
        self.image_embeds, self.text_embeds, self.logits_per_image = image_embeds, text_embeds, logits_per_image


class NamedBatch(LightningModule):
    """Named-tuple batches with integer ids; forward returns an object with many fields; no steps for evaluation."""

    def __init__(self):
        super().__init__()
        self.vision, self.language = image_tower(), text_tower()

    def forward(self, pictures, words):
        images, texts = self.vision(pictures), self.language(words)
        return CLIPOutput(images, texts, images @ texts.T)

    def training_step(self, batch, batch_idx):
        output = self(batch.pictures, batch.words)
        return -output.logits_per_image.diag().mean() / 100

    def configure_optimizers(self):
        return sgd(self)


class OtherNames(LightningModule):
    """Its attributes and methods have the names that come to mind first."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(3, WORDS)
        self.similarity = nn.CosineSimilarity(dim=-1)
        self.targets, self.queue_size, self.metrics = [], 16, {}
        self.image_net, self.text_net = image_tower(), text_tower()

    def gather(self, rows):
        return rows

    def encode(self, batch):
        return self.image_net(batch[0]), self.text_net(batch[1] + self.embed.weight[0])

    def training_step(self, batch, batch_idx):
        images, texts = self.encode(batch)
        self.targets.append(len(images))
        return (1 - self.similarity(self.gather(images), self.gather(texts))).mean()

    def on_train_epoch_end(self):
        self.targets.clear()

    def validation_step(self, batch, batch_idx):
        self.targets.append(self.training_step(batch, batch_idx))

    def on_validation_epoch_end(self):
        self.targets.clear()

    def configure_optimizers(self):
        return sgd(self)


class SeveralCaptions(LightningModule):
    """Two captions of each picture in a batch, told apart by a column of picture numbers; a hinge of its own."""

    def __init__(self):
        super().__init__()
        self.images, self.captions = image_tower(), text_tower()

    def forward(self, batch):
        return {
            "image_embeds": self.images(batch["image"]),
            "text_embeds": self.captions(batch["captions"].flatten(0, 1)),
        }

    def training_step(self, batch, batch_idx):
        out = self(batch)
        scores = out["image_embeds"] @ out["text_embeds"].T
        return (0.1 + scores - scores.max(dim=1, keepdim=True).values).clamp(min=0).mean()

    def validation_step(self, batch, batch_idx):
        return self(batch)

    def test_step(self, batch, batch_idx):
        return self(batch)

    def configure_optimizers(self):
        return sgd(self)
