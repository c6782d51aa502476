"""Embeddings out of what a host's own step runs: given back, not run again, and no scores taken for them."""

import pytest
import torch
from hosts import pairs
from lightning import LightningModule
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from vse_lightning import RelevanceLossMixin, RetrievalMetrics, RetrievalMetricsMixin, TripletLoss
from vse_lightning.functional import cosine_similarity

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
METRICS = {"recall_ks": (1,), "ndcg_ks": (), "coherent_ks": ()}


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Linear(6, 8), nn.Linear(5, 8)

    def forward(self, batch):
        return "regions", self.image(batch[0]), "words", self.text(batch[1])


class Host(LightningModule):
    """Its embeddings are the second and the fourth thing that its model returns; its forward returns scores."""

    def __init__(self):
        super().__init__()
        self.model, self.runs = Inner(), 0
        self.model.image.register_forward_hook(self.count)

    def count(self, *unused):
        self.runs += 1

    def forward(self, batch):
        _, images, _, texts = self.model(batch)
        scores = cosine_similarity(images, texts)
        return scores, scores.T

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch)[0], torch.arange(len(batch[0])))

    def validation_step(self, batch, batch_idx):
        self(batch)


class Picks(RelevanceLossMixin, RetrievalMetricsMixin, Host):
    retrieval_embeds_from = "model"

    def retrieval_embeds(self, batch):
        _, images, _, texts = self.model(batch)
        return images, texts


def batch():
    return next(iter(pairs()))


def test_what_was_captured_is_given_back_to_the_method_that_picks():
    model = Picks(relevance_loss=TripletLoss())
    loss = model.training_step(batch(), 0)
    assert model.runs == 1
    images, texts = model.model.image(batch()[0]), model.model.text(batch()[1])
    expected = Host.training_step(model, batch(), 0) + TripletLoss()(cosine_similarity(images, texts))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert model.model.image.weight.grad is not None


def test_where_the_host_did_not_run_it_the_method_does(trainer):
    class Skips(Picks):
        def validation_step(self, batch, batch_idx):
            self.log("val/nothing", 0.0)

    model = Skips(retrieval_metrics=RetrievalMetrics(**METRICS))
    trainer().validate(model, pairs(), verbose=False)
    trainer().test(model, pairs(), verbose=False)  # which the host has no step for
    assert model.runs == 4


def test_what_ran_once_is_given_back_once():
    class Asks(Picks):
        def retrieval_embeds(self, batch):
            return self.model(batch)[1], self.model(batch)[3]

    with pytest.raises(RuntimeError, match=r"retrieval_embeds\(batch\) calls 'model' more than once, but it ran once"):
        Asks(relevance_loss=TripletLoss()).training_step(batch(), 0)


def test_what_holds_no_embeddings_is_described_with_a_remedy():
    class Unpicked(RelevanceLossMixin, Host):
        retrieval_embeds_from = "model"

    message = (
        r"model must return .*, got tuple of 4: str; a tensor \(8, 8\) of torch.float32; .*: return these two from "
    )
    with pytest.raises(TypeError, match=message + r"retrieval_embeds\(batch\), which may call what was captured"):
        Unpicked(relevance_loss=TripletLoss()).training_step(batch(), 0)


@pytest.mark.parametrize("way", ["captured", "returned", "method"])
def test_scores_are_not_taken_for_embeddings(way):
    class Scores(RelevanceLossMixin, Host):
        if way == "captured":
            retrieval_embeds_from = "forward"

        if way == "method":

            def retrieval_embeds(self, batch):
                return self(batch)

        def training_step(self, batch, batch_idx):
            per_image, per_text = self(batch)
            output = {"loss": per_image.mean()}
            return output | ({"image_embeds": per_image, "text_embeds": per_text} if way == "returned" else {})

    with pytest.raises(TypeError, match="image_embeds and text_embeds are the same matrix, once transposed, as scores"):
        Scores(relevance_loss=TripletLoss()).training_step(batch(), 0)


def test_equal_embeddings_of_both_sides_are_embeddings():
    class Equal(RelevanceLossMixin, nn.Module):
        automatic_optimization = True

        def retrieval_embeds(self, batch):
            return torch.eye(4, requires_grad=True), torch.eye(4)

    assert Equal(relevance_loss=TripletLoss()).training_step([torch.zeros(4, 1)], 0) == 0


def test_a_step_that_returns_other_things_under_these_names_leaves_it_to_the_method():
    class Tokens(Picks):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "image_embeds": torch.ones(8, 3, 2)} | {
                "text_embeds": torch.ones(8, 5, 2)
            }

    model = Tokens(relevance_loss=TripletLoss())
    assert model.training_step(batch(), 0)["loss"] > 0
    assert model.runs == 1


def test_a_missing_step_is_named_with_what_to_write(trainer):
    class Unsaid(RetrievalMetricsMixin, Host):
        retrieval_embeds_from = ("model.image", "model.text")

    model = Unsaid(retrieval_metrics=RetrievalMetrics(**METRICS))
    trainer().validate(model, pairs(), verbose=False)
    with pytest.raises(
        TypeError, match=r"Unsaid has no test_step: define retrieval_embeds.*, or a test_step that calls"
    ):
        trainer().test(model, pairs(), verbose=False)


def test_chunks_of_what_was_captured_are_told_to_have_no_effect():
    model = Picks(relevance_loss=TripletLoss(), relevance_chunk_size=4)
    with pytest.warns(UserWarning, match="relevance_chunk_size has no effect"):
        model.training_step(batch(), 0)
    assert model.runs == 1


def test_what_lost_its_gradient_in_a_checkpoint_is_not_picked():
    class Checkpointed(Picks):
        def forward(self, batch):
            images = batch[0].requires_grad_()
            return checkpoint(
                lambda images: Host.forward(self, [images, batch[1]])[0], images, use_reentrant=True
            ), None

    with pytest.raises(RuntimeError, match=r"'model' runs within checkpoint\(use_reentrant=True\)"):
        Checkpointed(relevance_loss=TripletLoss()).training_step(batch(), 0)
