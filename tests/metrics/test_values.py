"""The values of the collection against loops over queries."""

import numpy as np
import pytest
import torch

from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics import (
    CoherentScore,
    MAPAtR,
    MeanRank,
    MedianRank,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RPrecision,
    RSum,
    evaluate_scores,
)


@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("num_images", [1, 2, 23, 150])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_loops(make_batch, reference, assert_equal, full_protocol, num_images, gain, dtype):
    batch = make_batch(num_images, dtype=dtype)
    metrics = batch.feed(full_protocol(gain=gain), batch_size=7)
    assert_equal(metrics.compute(), reference(batch, gain=gain))


@pytest.mark.parametrize(("ndcg_k", "coherent_k"), [(1, 2), (3, 7), (10, 20), (1000, 1000)])
def test_any_cut_off(make_batch, reference, assert_equal, full_protocol, ndcg_k, coherent_k):
    batch = make_batch(60)
    metrics = batch.feed(full_protocol(recall_ks=(1, 2, 40), ndcg_ks=(ndcg_k,), coherent_ks=(coherent_k,)))
    assert_equal(metrics.compute(), reference(batch, (1, 2, 40), ndcg_k, coherent_k))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_images", [9, 200])
def test_copies_of_pictures_and_captions_tie(make_batch, reference, assert_equal, full_protocol, num_images, dtype):
    batch = make_batch(num_images, distinct=num_images // 2, dtype=dtype)
    metrics = batch.feed(full_protocol(coherent_ks=(10,), chunk_size=64))
    # Scores of copies are equal to the last bit: ask for them in the loops, too.
    images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
    scores = copied_scores(batch.image_embeds[images], batch.text_embeds[texts])
    assert_equal(metrics.compute(), reference(batch, coherent_k=10, scores=scores))


def copied_scores(image_embeds, text_embeds):
    images, image = torch.unique(image_embeds, dim=0, return_inverse=True)
    texts, text = torch.unique(text_embeds, dim=0, return_inverse=True)
    return cosine_similarity(images, texts)[image][:, text].numpy()


def test_everything_collapsed(make_batch, reference, assert_equal, full_protocol):
    batch = make_batch(100)
    batch.image_embeds[:] = batch.image_embeds[0]
    batch.text_embeds[:] = batch.image_embeds[0]
    metrics = batch.feed(full_protocol(coherent_ks=(10,), chunk_size=64))
    values = metrics.compute()
    texts, images = len(batch.text_ids), len(batch.image_ids)
    assert values["t2i_mean_rank"] == images  # a tie never helps
    assert values["i2t_mean_rank"] == pytest.approx(texts - texts / images + 1)
    assert values["i2t_coherent_score_at_10"] == values["t2i_coherent_score_at_10"] == 0
    scores = np.ones((images, texts))
    assert_equal(values, reference(batch, coherent_k=10, scores=scores))


def test_block_sizes_and_arrival_do_not_matter(make_batch, assert_equal, full_protocol):
    batch = make_batch(300)
    expected = batch.feed(full_protocol()).compute()
    shuffled = batch.select(torch.randperm(300), torch.randperm(len(batch.text_ids)))
    for chunk_size, batch_size in [(64, None), (100, 11), (None, 300)]:
        metrics = full_protocol(chunk_size=chunk_size)
        assert_equal(shuffled.feed(metrics, batch_size).compute(), expected, tolerance=1e-7)


def test_repeats_are_dropped(make_batch, full_protocol):
    batch = make_batch(30)
    metrics = batch.feed(full_protocol())
    expected = metrics.compute()
    batch.select(torch.arange(5), torch.isin(batch.text_image_ids, batch.image_ids[:5])).feed(metrics)
    assert metrics.compute() == expected


def test_one_pair_per_row(make_batch, full_protocol):
    """A training-like batch repeats the picture for each of its captions."""
    batch = make_batch(30)
    expected = batch.feed(full_protocol()).compute()
    image = (batch.text_image_ids[:, None] == batch.image_ids).int().argmax(dim=1)
    pairs = batch.select(image, torch.arange(len(image)))
    metrics = full_protocol()
    metrics.update(**vars(pairs))
    assert metrics.compute() == expected


def test_without_text_ids_texts_keep_their_order_within_an_image(make_batch):
    batch = make_batch(30)
    order = batch.text_image_ids.argsort(stable=True)
    by_image = batch.select(torch.arange(30), order)
    by_image.text_ids = torch.arange(len(order))
    batch.text_ids = None
    metric = batch.feed(RetrievalMetrics(captions_per_image=1))
    assert metric.compute() == by_image.feed(RetrievalMetrics(captions_per_image=1)).compute()


def test_first_captions_only(make_batch, reference, assert_equal, full_protocol):
    batch = make_batch(30)
    first = []
    for image in batch.image_ids:
        texts = (batch.text_image_ids == image).nonzero()[:, 0]
        first.append(texts[batch.text_ids[texts].argmin()])
    kept = batch.select(torch.arange(30), torch.stack(first))
    assert_equal(batch.feed(full_protocol(captions_per_image=1)).compute(), reference(kept))
    # with one caption per image, relevance is that of two captions, and the two directions see one matrix
    all_captions = batch.feed(full_protocol(captions_per_image=9)).compute()
    assert all_captions == batch.feed(full_protocol()).compute()


def test_folds_are_the_mean_of_consecutive_galleries(make_batch, reference, assert_equal, full_protocol):
    batch = make_batch(40)
    order = batch.image_ids.argsort()
    folds = []
    for images in order.split(8):
        texts = torch.isin(batch.text_image_ids, batch.image_ids[images])
        folds.append(reference(batch.select(images, texts)))
    expected = {name: np.mean([fold[name] for fold in folds]) for name in folds[0]}
    assert_equal(batch.feed(full_protocol(folds=5)).compute(), expected)


def test_another_similarity(make_batch, reference, assert_equal, full_protocol):
    batch = make_batch(130, dtype=torch.float64)
    images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
    scores = -torch.cdist(batch.image_embeds[images].double(), batch.text_embeds[texts].double(), p=1)
    metrics = full_protocol(similarity=lambda i, t: -torch.cdist(i, t, p=1), chunk_size=64)
    assert_equal(batch.feed(metrics).compute(), reference(batch, scores=scores.numpy()))


def test_a_similarity_that_depends_on_the_block(make_batch, full_protocol):
    """What counts for a text is its positive's score in the block that holds it."""
    calls = []

    def noisy(images, texts):
        calls.append(len(texts))
        scores = cosine_similarity(images, texts)
        return scores + (1e-3 * torch.rand(1) if len(texts) < 300 else 0)

    batch = make_batch(150)
    num_texts = len(batch.text_ids)
    noisy_values = batch.feed(full_protocol(similarity=noisy, chunk_size=75)).compute()
    assert num_texts >= 300
    assert calls.count(num_texts) == 4  # two blocks, twice
    exact = batch.feed(full_protocol(chunk_size=75)).compute()
    assert noisy_values == exact


def test_half_precision_is_scored_in_float32(make_batch):
    batch = make_batch(30)
    batch.image_embeds, batch.text_embeds = batch.image_embeds.bfloat16(), batch.text_embeds.bfloat16()
    metric = batch.feed(RetrievalMetrics())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = metric.compute()
    batch.image_embeds, batch.text_embeds = batch.image_embeds.float(), batch.text_embeds.float()
    assert values == batch.feed(RetrievalMetrics()).compute()
    assert all(value.dtype == torch.float32 for value in values.values())


def test_matrix_precision_of_training_does_not_matter(make_batch):
    expected = make_batch(30).feed(RetrievalMetrics()).compute()
    torch.set_float32_matmul_precision("medium")
    try:
        assert make_batch(30).feed(RetrievalMetrics()).compute() == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_members_of_the_family_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.1], [0.1, 1.0], [-1.0, 0.2], [0.2, 1.0]])
    inputs = {
        "image_embeds": images,
        "text_embeds": texts,
        "image_ids": torch.tensor([5, 3]),
        "text_image_ids": torch.tensor([5, 3, 3, 5]),
    }
    # image 5 ranks its texts 1st and 2nd, image 3 its texts 1st and 3rd;
    # texts find their image at ranks 1, 1, 1, 2
    expected = {
        RecallAtK(1): 1,
        RecallAtK(2, recall="all"): 0.75,
        RecallAtK(1, "t2i"): 0.75,
        MedianRank("t2i"): 1,
        MeanRank("t2i"): 1.25,
        RSum((1, 2)): 200 + 175,
        MAPAtR(): (1 + 0.5) / 2,
        RPrecision(): (1 + 0.5) / 2,
        MAPAtR("t2i"): 0.75,
    }
    for metric, value in expected.items():
        metric.update(**inputs)
        assert metric.compute() == pytest.approx(value), metric


def test_given_matrices(make_batch, reference, assert_equal, full_protocol):
    generator = torch.Generator().manual_seed(1)
    batch = make_batch(25)
    images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
    ordered = batch.select(images, texts)
    scores = torch.randn(25, len(texts), generator=generator).round(decimals=1)
    relevance = torch.rand(25, len(texts), generator=generator).round(decimals=1)
    positives = ordered.image_ids[:, None] == ordered.text_image_ids
    values = evaluate_scores(dict(full_protocol().items()), scores, relevance, positives)
    truth = relevance.masked_fill(positives, 1)
    assert_equal(values, reference(batch, scores=scores.numpy(), relevance=truth.numpy()))
    binary = {"recall": RecallAtK(5), "map": MAPAtR("t2i")}
    assert evaluate_scores(binary, scores[:, :25]).keys() == binary.keys()


def test_query_values(make_batch):
    batch = make_batch(20)
    metric = batch.feed(RetrievalNDCG(5, "t2i", folds=2))
    (values,) = metric.per_query().values()
    assert values.shape == (len(batch.text_ids),)
    assert values.mean() != metric.compute()  # folds hold different numbers of texts
    assert batch.feed(RSum()).per_query().keys() == {"i2t", "t2i"}
    torch.testing.assert_close(
        batch.feed(CoherentScore(5)).per_query()["i2t"].mean(), batch.feed(CoherentScore(5)).compute()
    )
