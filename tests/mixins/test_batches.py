"""Batches of any kind, parts of them, and steps that return what they like."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hosts import BareHost, PairHost, pairs
from lightning import LightningModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vse_lightning import RelevanceLossMixin, RetrievalMetrics, RetrievalMetricsMixin, RetrievalTargets, TripletLoss

IMAGES, TEXTS = torch.randn(4, 6), torch.randn(4, 5)
CAPTURED = ("image", "text")

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:You passed in a `val_dataloader` but have no `validation_step`",
)


@dataclass
class Batch:
    images: Tensor | None
    texts: Tensor | None


@pytest.mark.parametrize("kind", [Batch, lambda *parts: SimpleNamespace(images=parts[0], texts=parts[1])])
def test_a_step_may_empty_a_batch_of_any_kind(kind):
    class Empties(RelevanceLossMixin, BareHost):
        def retrieval_embeds(self, batch):
            return self.image(batch.images), self.text(batch.texts)

        def training_step(self, batch, batch_idx):
            loss = (self.image(batch.images) - self.text(batch.texts)).square().mean()
            batch.images = batch.texts = None
            return loss

    model, batch = Empties(relevance_loss=TripletLoss()), kind(IMAGES, TEXTS)
    embeds = model.retrieval_embeds(batch)
    own = (embeds[0] - embeds[1]).square().mean()
    assert torch.allclose(model.training_step(batch, 0), own + TripletLoss().from_embeddings(*embeds))


class Parts(RelevanceLossMixin, LightningModule):
    """Takes the loss of a part of its batch, by hand."""

    retrieval_embeds_from = CAPTURED

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)
        self.automatic_optimization = False

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch.get("ids"), batch.get("ids"))

    def training_step(self, batch, batch_idx):
        part = batch["labelled"]
        self.image(part["images"]), self.text(part["texts"])
        return self.relevance_loss_of(part)


def test_the_loss_of_a_part_of_the_batch_has_the_targets_of_that_part():
    ids = [0, 0, 1, 1]
    model = Parts(relevance_loss=TripletLoss())
    loss = model.training_step({"labelled": {"images": IMAGES, "texts": TEXTS, "ids": ids}, "others": None}, 0)
    embeds = model.image(IMAGES), model.text(TEXTS)
    assert torch.allclose(loss, TripletLoss().from_embeddings(*embeds, RetrievalTargets(ids, ids)))
    assert not torch.allclose(loss, TripletLoss().from_embeddings(*embeds))


def test_a_step_that_hands_on_another_batch_is_supplied_for_that_one():
    class Turned(RelevanceLossMixin, BareHost):
        def training_step(self, batch, batch_idx):
            return super().training_step([batch[0], batch[1].flip(0)], batch_idx)

    model = Turned(relevance_loss=TripletLoss())
    loss = model.training_step([IMAGES, TEXTS], 0)
    expected = TripletLoss().from_embeddings(model.image(IMAGES), model.text(TEXTS.flip(0)))
    assert torch.allclose(loss, expected)


@pytest.mark.parametrize("returned", [3.0, (torch.zeros(()), 1), {"logits": torch.zeros(2)}, {"loss": None}])
def test_a_step_that_returns_no_loss_is_told_so_as_the_host_alone_is(trainer, returned):
    class Odd(PairHost):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            return returned

    mixed = type("MixedOdd", (RelevanceLossMixin, Odd), {"retrieval_embeds_from": CAPTURED})
    messages = []
    for model in (Odd(), mixed(relevance_loss=TripletLoss())):
        with pytest.raises(MisconfigurationException) as error:
            trainer().fit(model, pairs())
        messages.append(str(error.value))
    assert messages[0] == messages[1]


class Checkpointed(RelevanceLossMixin, BareHost):
    """Computes its image tower again in the backward pass."""

    retrieval_embeds_from = CAPTURED
    reentrant, within = False, False

    def training_step(self, batch, batch_idx):
        images = batch[0].clone().requires_grad_()  # the reentrant kind wants an input with a gradient
        image = (lambda x: self.image(x).tanh()) if self.within else self.image
        embeds = checkpoint(image, images, use_reentrant=self.reentrant), self.text(batch[1])
        return 0 * (embeds[0] - embeds[1]).sum()


@pytest.mark.parametrize("reentrant", [False, True])
def test_encoders_within_activation_checkpointing_get_their_gradient(reentrant):
    model = Checkpointed(relevance_loss=TripletLoss(mining="all"))
    model.reentrant = reentrant
    model.training_step([IMAGES, TEXTS], 0).backward()
    gradient, model.image.weight.grad = model.image.weight.grad, None
    TripletLoss(mining="all").from_embeddings(model.image(IMAGES), model.text(TEXTS)).backward()
    assert torch.allclose(gradient, model.image.weight.grad, atol=1e-7)


def test_a_gradient_that_is_lost_within_activation_checkpointing_is_noticed():
    model = Checkpointed(relevance_loss=TripletLoss(mining="all"))
    model.within = True
    model.training_step([IMAGES, TEXTS], 0)
    model.reentrant = True
    with pytest.raises(RuntimeError, match="'image' runs within checkpoint\\(use_reentrant=True\\)"):
        model.training_step([IMAGES, TEXTS], 0)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("image", "image"), "two different names"),
        (3, "must be 'forward', or one or two"),
        (("image.weight", "text"), "names 'image.weight', a Parameter: name a submodule or a method"),
    ],
)
def test_names_that_cannot_be_captured_are_refused(named, message):
    cls = type("Named", (RelevanceLossMixin, PairHost), {"retrieval_embeds_from": named})
    model = cls(relevance_loss=TripletLoss())
    with pytest.raises(TypeError, match=message):
        model.training_step([IMAGES, TEXTS], 0)


def test_prediction_of_a_host_without_a_step_that_could_be_captured_says_what_to_write(trainer):
    class Captured(RetrievalMetricsMixin, LightningModule):
        retrieval_embeds_from = CAPTURED

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)

    model = Captured(retrieval_metrics=RetrievalMetrics())
    with pytest.raises(TypeError, match=r"has no predict_step: define retrieval_embeds\(batch\)"):
        trainer().predict(model, pairs())


@pytest.mark.parametrize("stage", ["training", "validation"])
def test_a_step_that_the_host_assigns_to_itself_is_noticed(trainer, stage):
    class Assigns(PairHost):
        def __init__(self):
            super().__init__()
            setattr(self, f"{stage}_step", self.own_step)

        def own_step(self, batch, batch_idx):
            return (self.image(batch[0]) - self.text(batch[1])).square().mean()

    mixed = type("MixedAssigns", (RelevanceLossMixin, RetrievalMetricsMixin, Assigns), {})
    options = {"relevance_loss": TripletLoss(), "retrieval_metrics": RetrievalMetrics(ndcg_ks=(), coherent_ks=())}
    with pytest.raises(RuntimeError, match=f"MixedAssigns assigns {stage}_step to itself"):
        trainer(num_sanity_val_steps=0).fit(mixed(**options), pairs(), pairs())
    trainer().fit(mixed(), pairs(), pairs())
