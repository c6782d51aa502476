"""The hosts with the mixins in front, as their owners would write it, and what the right numbers are made from."""

from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning
import torch
from clip_like import (
    WIDTH,
    WORDS,
    BuiltInSetup,
    DictOutput,
    EMATeacher,
    Manual,
    NamedBatch,
    NestedSteps,
    NormsAndDropout,
    OtherNames,
    PairBatch,
    PopsFromBatch,
    SeveralCaptions,
    TupleCLIP,
    image_tower,
    sgd,
    text_tower,
)
from inner_models import HuggingFaceCLIP, LocalAndGlobal, Variational
from torch.nn import functional
from torch.utils.data import DataLoader

from vse_lightning import RelevanceLossMixin, RetrievalMetricsMixin, RetrievalTargets

PICTURES = 24


class MixedTupleCLIP(RelevanceLossMixin, RetrievalMetricsMixin, TupleCLIP):
    retrieval_embeds_from = ("encode_image", "encode_text")


class MixedDictOutput(RelevanceLossMixin, RetrievalMetricsMixin, DictOutput):
    retrieval_embeds_from = None  # its steps return them

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch["file_name"], batch["file_name"])


class MixedPopsFromBatch(RelevanceLossMixin, RetrievalMetricsMixin, PopsFromBatch):
    retrieval_embeds_from = ("model.image_proj", "model.text_proj")

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch["image_name"], batch["image_name"], text_ids=batch["caption_number"])


class MixedNestedSteps(RelevanceLossMixin, RetrievalMetricsMixin, NestedSteps):
    retrieval_embeds_from = "forward"


class MixedManual(RelevanceLossMixin, RetrievalMetricsMixin, Manual):
    retrieval_embeds_from = ("img_enc", "txt_enc")

    def further_loss(self, batch):
        return self.relevance_loss_of(batch)


class MixedEMATeacher(RelevanceLossMixin, RetrievalMetricsMixin, EMATeacher):
    retrieval_embeds_from = ("student.image", "student.text")


class MixedBuiltInSetup(RelevanceLossMixin, RetrievalMetricsMixin, BuiltInSetup):
    retrieval_embeds_from = ("model.image_projection", "model.text_projection")


class MixedNormsAndDropout(RelevanceLossMixin, RetrievalMetricsMixin, NormsAndDropout):
    retrieval_embeds_from = "forward"


class MixedNamedBatch(RelevanceLossMixin, RetrievalMetricsMixin, NamedBatch):
    retrieval_embeds_from = "forward"

    def retrieval_embeds(self, batch):  # for the evaluation, in which the host has no step
        return self(batch.pictures, batch.words)

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch.numbers, batch.numbers)


class MixedOtherNames(RelevanceLossMixin, RetrievalMetricsMixin, OtherNames):
    retrieval_embeds_from = ("image_net", "text_net")


class MixedSeveralCaptions(RelevanceLossMixin, RetrievalMetricsMixin, SeveralCaptions):
    retrieval_embeds_from = "forward"

    def retrieval_targets(self, batch):
        numbers = batch["number"]
        return RetrievalTargets(numbers, numbers.repeat_interleave(2), text_ids=batch["caption_numbers"].flatten())


class OldLightning(pytorch_lightning.LightningModule):
    """Imports ``pytorch_lightning``, as half of the code out there."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters()
        self.image, self.text = image_tower(), text_tower()

    def forward(self, batch):
        return self.image(batch[0]), self.text(batch[1])

    def training_step(self, batch, batch_idx):
        images, texts = self(batch)
        return functional.mse_loss(images, texts)

    def validation_step(self, batch, batch_idx):
        self(batch)

    def configure_optimizers(self):
        return sgd(self)


class MixedOldLightning(RelevanceLossMixin, RetrievalMetricsMixin, OldLightning):
    retrieval_embeds_from = "forward"


class MixedLocalAndGlobal(RelevanceLossMixin, RetrievalMetricsMixin, LocalAndGlobal):
    retrieval_embeds_from = "model"

    def retrieval_embeds(self, batch):  # which does not run the model again
        _, images, _, reports, _ = self.model(batch)
        return images, reports

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch["path"], batch["path"])


class MixedVariational(RelevanceLossMixin, RetrievalMetricsMixin, Variational):
    retrieval_embeds_from = ("motion_encoder", "text_encoder")

    def retrieval_embeds(self, batch):
        return self.motion_encoder(batch["motion_x_dict"])[:, 0], self.text_encoder(batch["text_x_dict"])[:, 0]


class MixedHuggingFaceCLIP(RelevanceLossMixin, RetrievalMetricsMixin, HuggingFaceCLIP):
    retrieval_embeds_from = "clip"


@dataclass(frozen=True)
class Integration:
    """A host, the host with the mixins, its data, and how to run its encoders by hand.

    ``draws``: its step draws random numbers; ``normalises``: what it learns depends on how a batch is split.
    """

    host: type
    mixed: type
    item: Callable
    embeds: Callable
    encoders: Callable
    collate: Callable | None = None
    captions: int = 1
    draws: bool = False
    normalises: bool = False

    def loader(self, batch_size=8, pictures=PICTURES):
        items = [self.item(number) for number in range(pictures)]
        return DataLoader(items, batch_size=batch_size, collate_fn=self.collate)

    def all_embeds(self, module):
        """Embeddings of the whole data by hand, with the image of each text."""
        batch = next(iter(self.loader(PICTURES)))
        with torch.no_grad():
            images, texts = self.embeds(module.eval(), batch)
        return images, texts, torch.arange(PICTURES).repeat_interleave(self.captions)


GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randn(PICTURES, WIDTH, generator=GENERATOR)
TOKENS = PIXELS[:, None, :WORDS] + 0.7 * torch.randn(PICTURES, 2, WORDS, generator=GENERATOR)


def pair(number):
    return PIXELS[number], TOKENS[number, 0]


def means_of(module, batch):
    """In the order and with the noise of the host's own step."""
    _, texts = module.encode(batch["text_x_dict"], "text")
    return module.encode(batch["motion_x_dict"], "motion")[1], texts


def named(number, **fields):
    return {"image": PIXELS[number], "text": TOKENS[number, 0]} | fields


INTEGRATIONS = {
    integration.host.__name__: integration
    for integration in (
        Integration(
            TupleCLIP, MixedTupleCLIP, pair, lambda m, b: (m.visual(b[0]), m.transformer(b[1])),
            lambda m: (m.visual, m.transformer),
        ),
        Integration(
            DictOutput, MixedDictOutput,
            lambda n: {"pixel_values": PIXELS[n], "input_ids": TOKENS[n, 0], "file_name": f"COCO_{n:06}.jpg"},
            lambda m, b: (m.vision_model(b["pixel_values"]), m.text_model(b["input_ids"])),
            lambda m: (m.vision_model, m.text_model),
        ),
        Integration(
            PopsFromBatch, MixedPopsFromBatch,
            lambda n: {"pixel_values": PIXELS[n], "input_ids": TOKENS[n, 0], "image_name": f"{n}", "caption_number": n},
            lambda m, b: (m.model["image_proj"](b["pixel_values"]), m.model["text_proj"](b["input_ids"])),
            lambda m: m.model.values(),
        ),
        Integration(
            NestedSteps, MixedNestedSteps, named, lambda m, b: m(b), lambda m: (m.image_encoder, m.text_encoder)
        ),
        Integration(
            Manual, MixedManual, pair, lambda m, b: (m.img_enc(b[0]), m.txt_enc(b[1])), lambda m: (m.img_enc, m.txt_enc)
        ),
        Integration(
            EMATeacher, MixedEMATeacher, lambda n: {"images": PIXELS[n], "texts": TOKENS[n, 0]},
            lambda m, b: m.run(m.student, b), lambda m: m.student.values(),
        ),
        Integration(
            BuiltInSetup, MixedBuiltInSetup, pair,
            lambda m, b: (m.model.image_projection(b[0]), m.model.text_projection(b[1])), lambda m: m.model.children(),
        ),
        Integration(
            NormsAndDropout, MixedNormsAndDropout, pair, lambda m, b: m(b), lambda m: (m.a, m.b), draws=True,
            normalises=True,
        ),
        Integration(
            NamedBatch, MixedNamedBatch, lambda n: PairBatch(*pair(n), torch.tensor(n)),
            lambda m, b: (m.vision(b.pictures), m.language(b.words)), lambda m: (m.vision, m.language),
        ),
        Integration(OtherNames, MixedOtherNames, pair, lambda m, b: m.encode(b), lambda m: (m.image_net, m.text_net)),
        Integration(
            SeveralCaptions, MixedSeveralCaptions,
            lambda n: {"image": PIXELS[n], "captions": TOKENS[n], "number": n + 1000,
                       "caption_numbers": torch.tensor([2 * n, 2 * n + 1])},
            lambda m, b: tuple(m(b).values()), lambda m: (m.images, m.captions), captions=2,
        ),
        Integration(
            LocalAndGlobal, MixedLocalAndGlobal,
            lambda n: {"imgs": PIXELS[n], "caption_ids": TOKENS[n, 0], "path": f"p10/s{n}.jpg"},
            lambda m, b: m.model(dict(b))[1:4:2], lambda m: (m.model.image_net, m.model.text_net), normalises=True,
        ),
        Integration(
            Variational, MixedVariational,
            lambda n: {"motion_x_dict": {"x": PIXELS[n]}, "text_x_dict": {"x": TOKENS[n, 0]}}, means_of,
            lambda m: (m.motion_encoder.net, m.text_encoder.net), draws=True,
        ),
        Integration(
            HuggingFaceCLIP, MixedHuggingFaceCLIP, lambda n: {"pixel_values": PIXELS[n], "input_ids": TOKENS[n, 0]},
            lambda m, b: (m.clip.vision_model(b["pixel_values"]), m.clip.text_model(b["input_ids"])),
            lambda m: (m.clip.vision_model, m.clip.text_model),
        ),
        Integration(OldLightning, MixedOldLightning, pair, lambda m, b: m(b), lambda m: (m.image, m.text)),
    )
}  # fmt: skip
