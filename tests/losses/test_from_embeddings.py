"""The whole loss from embeddings: what it ranks, which labels it reads, what it refuses."""

from itertools import product

import pytest
import torch
from label_table import Table
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning import RetrievalTargets
from vse_lightning.functional import cosine_similarity
from vse_lightning.losses import ContrastiveLoss, KendallLoss, LadderLoss, RetrievalLoss, TripletLoss, WeightedSumLoss
from vse_lightning.losses._from_embeddings import Candidates, terms_of_embeddings
from vse_lightning.relevance import FeatureTable

# Image 5 comes twice; images have two, one, three and no texts; the last text describes none of them.
IMAGE_IDS, TEXT_IMAGE_IDS = [5, 7, 5, 9, 8], [7, 5, 9, 5, 9, 9, -1]
TEXT_IDS = [30, 31, 32, 33, 34, 35, 36]
ALL = ("i2t", "t2i", "i2i", "t2t")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def embeds():
    images, texts = draw(5, 4, seed=1), draw(7, 4, seed=2)
    images[2] = images[0] + 0.1
    return images.requires_grad_(), texts.requires_grad_()


def loss_by_the_definition(loss: RetrievalLoss, direction: str, images: Tensor, texts: Tensor, table: Table) -> Tensor:
    """One query after the other, one candidate after the other."""
    embeds = {"i": images, "t": texts}
    image_of = {"i": IMAGE_IDS, "t": TEXT_IMAGE_IDS}
    ids = {"i": IMAGE_IDS, "t": TEXT_IDS}
    asks, ranked = direction[0], direction[2]
    labels = {"i2t": table, "t2i": table, "i2i": table.between_images(), "t2t": table.between_texts()}[direction]
    total, count = 0, 0
    for query, image in enumerate(image_of[asks]):
        if image == -1:
            continue
        others = [other for other in range(len(ids[ranked])) if asks != ranked or other != query]
        scores = [torch.cosine_similarity(embeds[asks][query], embeds[ranked][other], 0) for other in others]
        positives = [image_of[ranked][other] == image for other in others]
        numbers = [(ids[asks][query], ids[ranked][other]) for other in others]
        relevance = [labels.relevance[b, a] if direction == "t2i" else labels.relevance[a, b] for a, b in numbers]
        ((of_query, terms),) = loss.query_terms(
            torch.stack(scores)[None], torch.stack(relevance)[None], torch.tensor([positives])
        ).values()
        total, count = total + of_query.sum(), count + terms.sum()
    return total / count.clamp(min=1)


@pytest.mark.parametrize("directions", [*product(ALL), ("i2t", "t2i"), ALL])
def test_every_direction_is_what_it_says(make_loss, embeds, directions):
    loss = make_loss(directions=directions).double()
    parts = loss.parts().values()
    targets = RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, text_ids=TEXT_IDS, relevance=Table())
    found = loss.from_embeddings(*embeds, targets)
    expected = sum(
        weight * loss_by_the_definition(part, direction, *embeds, Table()) / len(directions)
        for weight, part in parts
        for direction in directions
    )
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, embeds, allow_unused=True) for value in (found, expected)]
    for gradient, wanted in zip(*gradients, strict=True):
        if wanted is not None:
            torch.testing.assert_close(gradient, wanted)


def test_without_targets_they_are_pairs(make_loss):
    images, texts = draw(6, 4, seed=1), draw(6, 4, seed=2)
    loss = make_loss().double()
    if loss.needs_relevance:
        with pytest.raises(ValueError, match="Loss needs relevance"):
            loss.from_embeddings(images, texts)
        return
    torch.testing.assert_close(loss.from_embeddings(images, texts), loss(cosine_similarity(images, texts)))


def test_a_block_of_labels(make_loss, embeds):
    images, texts, loss = embeds[0], embeds[1][:6], make_loss().double()
    targets = RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS[:6], relevance=torch.rand(5, 6))
    expected = loss(cosine_similarity(images, texts), targets.relevance, targets.positives())
    torch.testing.assert_close(loss.from_embeddings(images, texts, targets), expected)


def test_labels_from_text_features():
    """Image to text: the best caption of the image; within a modality the best pair of captions."""
    ids, features = [4, 4, 6, 6, 2], draw(5, 3)
    images, texts = draw(3, 4, seed=1), draw(5, 4, seed=2)
    targets = RetrievalTargets([2, 4, 6], ids, text_features=features).resolve(images, texts)
    cosines = (normalize(features.float()) @ normalize(features.float()).T).clamp(0, 1)
    captions = {2: [4], 4: [0, 1], 6: [2, 3]}
    to_texts = torch.stack([cosines[captions[image]].amax(0) for image in (2, 4, 6)])
    torch.testing.assert_close(targets.relevance_between(slice(None), slice(None)), to_texts)
    to_images = torch.stack([to_texts[:, captions[image]].amax(1) for image in (2, 4, 6)], 1)
    torch.testing.assert_close(targets.relevance_within("i2i", slice(1, 3)), to_images[1:3])
    torch.testing.assert_close(targets.relevance_within("t2t", slice(0, 5)), cosines)
    loss = KendallLoss(directions=ALL)
    same = FeatureTable(features.float(), torch.tensor(ids), label="same")
    by_table = RetrievalTargets([2, 4, 6], ids, text_ids=range(5), relevance=same)
    torch.testing.assert_close(
        loss.from_embeddings(images, texts, targets), loss.from_embeddings(images, texts, by_table)
    )


def test_labels_are_never_in_half_precision():
    targets = RetrievalTargets(range(4), range(4), text_features=draw(4, 8).float()).resolve(draw(4, 3), draw(4, 3))
    kinds = ("i2i", "t2t")
    exact = [targets.relevance_between(slice(2), slice(None)), *(targets.relevance_within(d, slice(2)) for d in kinds)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [targets.relevance_between(slice(2), slice(None))]
        found += [targets.relevance_within(direction, slice(2)) for direction in kinds]
    assert all(map(torch.equal, found, exact))


def test_ids_may_be_names():
    images, texts = draw(3, 4, seed=1), draw(4, 4, seed=2)
    by_name = RetrievalTargets(["a.jpg", "b.jpg", "c.jpg"], ["b.jpg", "a.jpg", "b.jpg", "c.jpg"])
    by_number = RetrievalTargets(torch.arange(3), torch.tensor([1, 0, 1, 2]))
    loss = TripletLoss()
    assert torch.equal(loss.from_embeddings(images, texts, by_name), loss.from_embeddings(images, texts, by_number))


def test_a_similarity_of_your_own(embeds):
    def dot_product(images, texts):
        return images @ texts.T

    targets = RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS)
    found = TripletLoss(directions=("i2t",)).from_embeddings(*embeds, targets, dot_product)
    expected = TripletLoss(directions=("i2t",))(embeds[0] @ embeds[1].T, None, targets.positives())
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"similarity must return scores of shape \(5, 7\), got \(7, 5\)"):
        TripletLoss().from_embeddings(*embeds, targets, lambda images, texts: texts @ images.T)
    with pytest.raises(ValueError, match=r"similarity must return scores of shape \(5, 7\), got list"):
        TripletLoss().from_embeddings(*embeds, targets, lambda images, texts: [])


def test_half_precision_adds_up_in_single():
    images, texts = (draw(6, 4, seed=seed).bfloat16().requires_grad_() for seed in (1, 2))
    value = ContrastiveLoss().from_embeddings(images, texts)
    assert value.dtype == torch.float32
    value.backward()
    assert images.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("directions", [("i2i",), ("t2t",), ALL])
def test_a_batch_of_one_pair_has_nobody_else_of_its_kind(make_loss, directions):
    images, texts = draw(1, 4, seed=1).requires_grad_(), draw(1, 4, seed=2).requires_grad_()
    loss = make_loss(directions=directions).double()
    targets = RetrievalTargets([1], [1], text_ids=[1], relevance=Table())
    value = loss.from_embeddings(images, texts, targets)
    value.backward()
    assert value.isfinite()
    assert all(embeds.grad is None or embeds.grad.isfinite().all() for embeds in (images, texts))


def test_candidates_beyond_the_batch_are_no_queries():
    images, texts, past = draw(3, 4, seed=1), draw(3, 4, seed=2), draw(2, 4, seed=3)

    def beyond(batch):
        ids = torch.tensor([1, 2, 3, 7, 8])
        targets = RetrievalTargets(ids, ids, text_ids=ids, relevance=batch.targets.relevance)
        return Candidates(torch.cat([batch.image_embeds, past]), torch.cat([batch.text_embeds, -past]), targets)

    targets, ids = RetrievalTargets([1, 2, 3], [1, 2, 3], text_ids=[1, 2, 3]), torch.tensor([1, 2, 3, 7, 8])
    loss, table = LadderLoss(thresholds=(0.5,), directions=ALL), Table()
    (found,) = terms_of_embeddings(loss, images, texts, targets, beyond=beyond, table=table).values()
    all_images, all_texts = torch.cat([images, past]), torch.cat([texts, -past])
    expected = []
    for queries, candidates, labels in (
        (images, all_texts, table.block(ids, ids)),
        (texts, all_images, table.block(ids, ids).T),
        (images, all_images, table.between_images().block(ids, ids)),
        (texts, all_texts, table.between_texts().block(ids, ids)),
    ):
        scores, positives = cosine_similarity(queries, candidates), torch.eye(3, 5, dtype=torch.bool)
        lists = [scores, labels[:3], positives]
        if len(expected) > 1:
            lists = [matrix[~positives].view(3, 4) for matrix in lists]
        ((total, count),) = loss.query_terms(*lists).values()
        expected.append(total.sum() / count.sum().clamp(min=1))
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_terms_of_a_sum_are_told_apart(embeds):
    loss = WeightedSumLoss(
        {"pairs": TripletLoss(), "texts": ContrastiveLoss(directions=("t2t",))}, {"pairs": 1.0, "texts": 0.5}
    )
    targets = RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS)
    terms = terms_of_embeddings(loss, *embeds, targets)
    assert list(terms) == ["pairs", "texts"]
    torch.testing.assert_close(terms["pairs"], TripletLoss().from_embeddings(*embeds, targets))
    half = 0.5 * ContrastiveLoss(directions=("t2t",)).from_embeddings(*embeds, targets)
    torch.testing.assert_close(terms["texts"], half)
    torch.testing.assert_close(loss.from_embeddings(*embeds, targets), sum(terms.values()))


class OnlyBlocks:
    def block(self, image_ids, text_ids):
        return torch.zeros(len(image_ids), len(text_ids))


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (TripletLoss(), {"image_ids": [1]}, "targets must be RetrievalTargets or None, got dict"),
        (TripletLoss(), None, "a batch without image_ids and text_image_ids must be pairs, got 5 images and 7 texts"),
        (TripletLoss(), RetrievalTargets([1], TEXT_IMAGE_IDS), "image_ids must have one entry for each of the 5 image"),
        (LadderLoss(), RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS), "LadderLoss needs relevance"),
        (
            LadderLoss(),
            RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, relevance=torch.full((5, 7), 1.5)),
            r"relevance must be finite and lie in \[0, 1\], got values from 1.5 to 1.5",
        ),
        (
            LadderLoss(directions=("t2t",)),
            RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, relevance=torch.rand(5, 7)),
            "own labels reach neither the texts of other processes .* nor others of the query's kind .*: name a table",
        ),
        (
            LadderLoss(),
            RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, relevance=Table()),
            "text_ids are needed to look relevance up in a table, got None",
        ),
        (
            LadderLoss(directions=("i2i",)),
            RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, text_ids=TEXT_IDS, relevance=OnlyBlocks()),
            r"direction 'i2i' needs labels with a method between_images\(\), got OnlyBlocks",
        ),
        (
            LadderLoss(),
            RetrievalTargets(IMAGE_IDS, TEXT_IMAGE_IDS, text_features=torch.rand(7, 3)),
            r"text_features: every image needs a text of its own in the batch, image ids \[8\] have none",
        ),
    ],
)
def test_what_does_not_fit_is_named(embeds, loss, targets, message):
    with pytest.raises(ValueError, match=message):
        loss.from_embeddings(*embeds, targets)


def test_a_table_is_not_asked_for_made_up_ids():
    targets = RetrievalTargets(None, None, text_ids=[1, 2], relevance=Table())
    with pytest.raises(ValueError, match="image_ids are needed to look relevance up in a table, got None"):
        LadderLoss().from_embeddings(draw(2, 3), draw(2, 3), targets)


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        ([[1.0]], torch.ones(1, 1), "image_embeds must be a tensor, got list"),
        (
            torch.ones(2, 3),
            torch.ones(3),
            r"text_embeds must be a floating point matrix \(texts, dimensions\), got .*32",
        ),
        (torch.ones(2, 3), torch.ones(2, 3).long(), "text_embeds must be a floating point matrix .*, got torch.int64"),
        (
            torch.ones(2, 3),
            torch.ones(2, 4),
            "must have one width for the cosine, got 3 and 4",
        ),
    ],
)
def test_what_is_no_embedding_is_named(images, texts, message):
    with pytest.raises(ValueError, match=message):
        TripletLoss().from_embeddings(images, texts)


def test_embeddings_of_two_precisions_are_promoted():
    images, texts = draw(4, 3).half(), draw(4, 3)
    expected = TripletLoss(mining="all").from_embeddings(images.float(), texts)
    assert torch.equal(TripletLoss(mining="all").from_embeddings(images, texts), expected)
