"""Batches larger than memory, and candidates beyond the batch."""

import pytest
import torch
from hosts import BareHost, pairs
from label_table import Table
from torch import nn

from vse_lightning.losses import ContrastiveLoss, KendallLoss, LadderLoss, TripletLoss
from vse_lightning.mixins import RelevanceLossMixin, RetrievalTargets
from vse_lightning.mixins.batch.chunks import embed_in_chunks

pytestmark = pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")


class Bare(RelevanceLossMixin, BareHost):
    pass


def gradients(chunk_size, batch):
    torch.manual_seed(0)
    model = Bare(relevance_loss=ContrastiveLoss(), relevance_chunk_size=chunk_size)
    loss = model.training_step(batch, 0)
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 100])
def test_chunks_give_the_loss_and_gradients_of_the_whole_batch(chunk_size):
    batch = next(iter(pairs()))
    loss, expected = gradients(None, batch)
    chunked_loss, found = gradients(chunk_size, batch)
    torch.testing.assert_close(chunked_loss, loss)
    torch.testing.assert_close(found, expected)


def test_the_host_sees_one_chunk_at_a_time_and_the_whole_batch_in_evaluation():
    sizes = []

    class Watches(Bare):
        def retrieval_embeds(self, batch):
            sizes.append(len(batch[0]))
            return super().retrieval_embeds(batch)

    model = Watches(relevance_loss=TripletLoss(), relevance_chunk_size=3)
    model.training_step(next(iter(pairs())), 0)
    assert sizes == [3, 3, 2]
    model.eval()
    model.training_step(next(iter(pairs())), 0)
    assert sizes[3:] == [8]


def test_nested_batches_are_cut_along_the_pairs():
    def retrieval_embeds(batch):
        width = batch["text"]["words"].float()
        assert len(batch["names"]) == len(width)
        return batch["image"], width

    batch = {
        "image": torch.arange(10.0).reshape(5, 2),
        "text": {"words": torch.arange(15).reshape(5, 3)},
        "names": list("abcde"),
        "temperature": torch.tensor(2.0),
    }
    images, texts = embed_in_chunks(retrieval_embeds, nn.Identity(), batch, 2)
    torch.testing.assert_close(images, batch["image"])
    torch.testing.assert_close(texts, batch["text"]["words"].float())


def test_batch_normalisation_in_training_is_refused():
    model = Bare(relevance_loss=TripletLoss(), relevance_chunk_size=2)
    model.norm = nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match="batch normalisation 'norm' would see chunks, not the batch"):
        model.training_step(next(iter(pairs())), 0)
    model.norm.eval()
    model.training_step(next(iter(pairs())), 0)


def test_chunks_of_embeddings_that_the_host_makes_itself_are_no_chunks():
    class Captured(RelevanceLossMixin, BareHost):
        retrieval_embeds_from = ("image", "text")

        def training_step(self, batch, batch_idx):
            return (self.image(batch[0]) - self.text(batch[1])).square().mean()

    model = Captured(relevance_loss=TripletLoss(), relevance_chunk_size=2)
    with pytest.warns(UserWarning, match="relevance_chunk_size has no effect"):
        model.training_step([torch.randn(4, 6), torch.randn(4, 5)], 0)


class Queued(RelevanceLossMixin, nn.Module):
    automatic_optimization = True

    def retrieval_embeds(self, batch):
        return batch["image"], batch["text"]

    def retrieval_targets(self, batch):
        return RetrievalTargets(batch["ids"], batch["ids"], text_ids=batch["ids"], relevance=batch.get("table"))


def batch_of(ids, table=None):
    generator = torch.Generator().manual_seed(int(ids[0]))
    images, texts = (torch.randn(len(ids), 4, generator=generator, requires_grad=True) for _ in range(2))
    return {"image": images, "text": texts, "ids": torch.tensor(ids), "table": table}


@pytest.mark.parametrize("loss", [TripletLoss(), LadderLoss(thresholds=(0.5,))])
def test_past_pairs_are_candidates_but_not_those_of_the_same_image(loss):
    model = Queued(relevance_loss=loss, relevance_queue_size=5)
    first, second = batch_of([1, 2, 3, 4], Table()), batch_of([4, 5, 6], Table())
    model.training_step(first, 0)
    found = model.training_step(second, 0)
    past = slice(3)  # images 1, 2, 3; image 4 is in the batch
    images = torch.cat([second["image"], first["image"][past]])
    texts = torch.cat([second["text"], first["text"][past]])
    ids = torch.tensor([4, 5, 6, 1, 2, 3])
    scores, relevance, positives = (
        model.retrieval_similarity(images, texts),
        Table().block(ids, ids),
        torch.eye(6).bool(),
    )
    ((i2t_total, i2t_count),) = loss.query_terms(scores[:3], relevance[:3], positives[:3]).values()
    ((t2i_total, t2i_count),) = loss.query_terms(scores.T[:3], relevance.T[:3], positives[:3]).values()
    expected = (i2t_total.sum() / i2t_count.sum() + t2i_total.sum() / t2i_count.sum()) / 2
    torch.testing.assert_close(found, expected)
    found.backward()
    assert first["image"].grad is None
    assert second["image"].grad is not None


@pytest.mark.parametrize("make_loss", [lambda **kind: ContrastiveLoss(relevance_weight=1.0, **kind), KendallLoss])
@pytest.mark.parametrize(("direction", "kind", "seed"), [("i2i", "image", 4), ("t2t", "text", 5)])
def test_within_a_modality_past_ones_of_the_kind_are_candidates(make_loss, direction, kind, seed):
    loss = make_loss(directions=(direction,))
    model = Queued(relevance_loss=loss, relevance_queue_size=5)
    first, second = batch_of([1, 2, 3, 4], Table()), batch_of([4, 5, 6], Table())
    model.training_step(first, 0)
    found = model.training_step(second, 0)
    embeds, ids = torch.cat([second[kind], first[kind][:3]]), torch.tensor([4, 5, 6, 1, 2, 3])
    others = torch.stack([torch.tensor([place for place in range(6) if place != own]) for own in range(3)])
    scores = model.retrieval_similarity(embeds, embeds)[:3].gather(1, others)
    relevance = Table(seed).block(ids[:3], ids).gather(1, others)
    ((total, count),) = loss.query_terms(scores, relevance, torch.zeros(3, 5, dtype=torch.bool)).values()
    torch.testing.assert_close(found, total.sum() / count.sum())
    found.backward()
    assert second[kind].grad.abs().max() > 0
    assert first[kind].grad is None


def test_queue_keeps_the_last_pairs():
    model = Queued(relevance_loss=TripletLoss(), relevance_queue_size=3)
    for ids in ([1, 2], [3, 4]):
        model.training_step(batch_of(ids), 0)
    assert model._relevance_queue._past["image_ids"].tolist() == [2, 3, 4]


def test_graded_loss_with_a_queue_needs_a_table():
    model = Queued(relevance_loss=LadderLoss(), relevance_queue_size=3)
    with pytest.raises(ValueError, match="own labels reach neither the texts of other processes or past batches"):
        model.training_step(batch_of([1, 2], torch.rand(2, 2)), 0)
    with pytest.raises(ValueError, match="relevance_queue_size must be a whole number of at least 0, got -1"):
        Queued(relevance_loss=TripletLoss(), relevance_queue_size=-1)
