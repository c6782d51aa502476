"""Texts without an image and images without a text: candidates, but no queries, in every metric and protocol."""

import json

import numpy as np
import pytest
import torch

from vse_lightning.functional import average_precision_at_r, cosine_similarity, r_precision, recall_at_k
from vse_lightning.metrics import (
    PMRP,
    MAPAtR,
    MedianRank,
    MissingRelevanceError,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RPrecision,
    RSum,
    evaluate_scores,
)
from vse_lightning.relevance import FeatureTable


class Table:
    """Knows the relevance of every id, those of lonely images too."""

    label = "toy labels"

    def block(self, image_ids, text_ids):
        return torch.sin(image_ids[:, None] + text_ids[None, :] * 0.7).abs()


@pytest.fixture
def with_distractors(make_batch):
    def make(num_images=30, lonely=False, **options):
        """Every image keeps a text, unless some shall be lonely; every fifth text has no image."""
        batch = make_batch(num_images, **options)
        first = torch.stack([(batch.text_image_ids == image).nonzero()[0, 0] for image in batch.image_ids])
        alone = torch.arange(len(batch.text_ids)) % 5 == 0
        alone[first] = False
        if lonely:
            alone |= torch.isin(batch.text_image_ids, batch.image_ids[::4])
        batch.text_image_ids = batch.text_image_ids.masked_fill(alone, -1)
        assert alone.sum() > 3
        return batch

    return make


def update(metric, batch):
    given = {name: rows for name, rows in vars(batch).items() if rows is not None}
    metric.update(**given)
    return metric


@pytest.mark.parametrize(("num_images", "chunk_size"), [(30, None), (150, 64)])
def test_texts_without_an_image(with_distractors, reference, assert_equal, full_protocol, num_images, chunk_size):
    batch = with_distractors(num_images)
    assert_equal(update(full_protocol(chunk_size=chunk_size), batch).compute(), reference(batch))


@pytest.mark.parametrize(("num_images", "chunk_size"), [(30, None), (150, 64)])
def test_images_without_a_text(with_distractors, reference, assert_equal, full_protocol, num_images, chunk_size):
    batch = with_distractors(num_images, lonely=True)
    ordered = batch.select(batch.image_ids.argsort(), batch.text_ids.argsort())
    relevance = Table().block(ordered.image_ids, ordered.text_ids)
    relevance = relevance.masked_fill(ordered.image_ids[:, None] == ordered.text_image_ids, 1).numpy()
    metrics = update(full_protocol(chunk_size=chunk_size, relevance=Table()), batch)
    expected = reference(batch, relevance=relevance)
    assert_equal(metrics.compute(), expected)
    batch.text_features = None
    recalls = update(full_protocol(ndcg_ks=(), coherent_ks=(), chunk_size=chunk_size), batch).compute()
    assert_equal(recalls, {name: expected[name] for name in recalls})


def test_they_change_the_ranks_of_others_only(make_batch):
    images, texts = torch.eye(3), torch.cat([torch.eye(3), torch.eye(3)[:1]])
    metric = RecallAtK(1)
    metric.update(images, texts, image_ids=[5, 6, 7], text_image_ids=[5, 6, -1, -1])
    assert metric.per_query()["i2t"].tolist() == [0, 1]  # a copy of its text beats image 5, image 7 does not ask
    metric = RecallAtK(1, "t2i")
    metric.update(images, texts, image_ids=[5, 6, 7], text_image_ids=[5, 6, -1, -1])
    assert metric.per_query()["t2i"].tolist() == [1, 1]


def test_all_positives(with_distractors):
    batch = with_distractors(lonely=True)
    ordered = batch.select(batch.image_ids.argsort(), batch.text_ids.argsort())
    scores = cosine_similarity(ordered.image_embeds, ordered.text_embeds)
    positives = ordered.image_ids[:, None] == ordered.text_image_ids
    for metric, direction, function in [
        (MAPAtR(), "i2t", average_precision_at_r),
        (MAPAtR("t2i"), "t2i", average_precision_at_r),
        (RPrecision(), "i2t", r_precision),
        (RecallAtK(3, recall="all"), "i2t", lambda s, p: recall_at_k(s, p, 3, "all")),
        (RecallAtK(3, "t2i", recall="all"), "t2i", lambda s, p: recall_at_k(s, p, 3, "all")),
    ]:
        s, p = (scores, positives) if direction == "i2t" else (scores.T, positives.T)
        values = function(s.contiguous(), p.contiguous())[p.any(dim=1)]
        (found,) = update(metric, batch).per_query().values()
        assert torch.equal(found, values)
        assert metric.compute() == pytest.approx(float(values.mean()))
        assert metric.compute() == pytest.approx(float(evaluate_scores([metric], scores, None, positives)[metric.name]))


def test_folds_face_all_texts_without_an_image(with_distractors, reference, assert_equal, full_protocol):
    batch = with_distractors(40)
    folds = []
    for images in batch.image_ids.argsort().split(8):
        texts = torch.isin(batch.text_image_ids, batch.image_ids[images]) | (batch.text_image_ids == -1)
        folds.append(reference(batch.select(images, texts)))
    expected = {name: np.mean([fold[name] for fold in folds]) for name in folds[0]}
    assert_equal(update(full_protocol(folds=5), batch).compute(), expected)


def test_a_fold_needs_a_query():
    embeds, ids = torch.eye(4), torch.arange(4)
    metric = RecallAtK(folds=2)
    metric.update(embeds, embeds, ids, torch.tensor([0, 1, -1, -1]))
    with pytest.raises(
        ValueError, match="i2t_recall_at_1 has no query in the gallery or one of its folds: it needs an im"
    ):
        metric.compute()


def test_first_captions_keep_texts_without_an_image(with_distractors, reference, assert_equal, full_protocol):
    batch = with_distractors(30)
    kept = batch.text_image_ids == -1
    for image in batch.image_ids:
        texts = (batch.text_image_ids == image).nonzero()[:, 0]
        kept[texts[batch.text_ids[texts].argmin()]] = True
    expected = reference(batch.select(torch.arange(30), kept))
    assert_equal(update(full_protocol(captions_per_image=1), batch).compute(), expected)


def test_text_to_text(with_distractors):
    batch = with_distractors(30)
    batch = batch.select(batch.image_ids.argsort(), batch.text_ids.argsort())
    scores, owner = cosine_similarity(batch.text_embeds, batch.text_embeds), batch.text_image_ids
    ranks = []
    for query in range(len(owner)):
        others = torch.arange(len(owner)) != query
        matches = (owner[others] == owner[query]) & (owner[query] != -1)
        if matches.any():
            s = scores[query, others]
            ranks.append(1 + int(((s >= s[matches].max()) & ~matches).sum()))
    assert update(MedianRank("t2t"), batch).compute() == np.median(ranks)
    ndcg = update(RetrievalNDCG(5, "t2t"), batch)
    assert len(ndcg.per_query()["t2t"]) == (owner != -1).sum()
    table = FeatureTable(batch.text_features, batch.text_ids, batch.text_ids, label="by hand")
    given = update(RetrievalNDCG(5, "t2t", relevance=table), batch)
    assert given.compute() == pytest.approx(float(ndcg.compute()), abs=1e-6)


def test_image_to_image_is_graded_by_texts(with_distractors):
    batch = with_distractors(20)
    described = batch.select(torch.arange(20), batch.text_image_ids != -1)
    expected = update(RetrievalNDCG(5, "i2i"), described).compute()
    assert update(RetrievalNDCG(5, "i2i"), batch).compute() == expected
    lonely = with_distractors(20, lonely=True)
    for options in ({}, {"relevance": Table()}):
        with pytest.raises(MissingRelevanceError, match="images without a text have no labels, such as those of ids"):
            update(RetrievalNDCG(5, "i2i", **options), lonely).compute()


def test_text_features_do_not_grade_images_without_a_text(with_distractors):
    batch = with_distractors(lonely=True)
    message = (
        r"RetrievalNDCG needs graded relevance: images without a text have no labels, .*RelevanceTable> that knows"
    )
    with pytest.raises(MissingRelevanceError, match=message):
        update(RetrievalNDCG(), batch).compute()
    with pytest.raises(MissingRelevanceError, match="images without a text have no labels"):
        update(RetrievalNDCG(), batch).per_query()
    metrics = update(RetrievalMetrics(), batch)
    with pytest.warns(
        UserWarning, match="i2t_ndcg_at_10, .* left out: they need graded relevance: images without a text"
    ):
        values = metrics.compute()
    assert values.keys() == update(RetrievalMetrics(ndcg_ks=(), coherent_ks=()), batch).compute().keys()


def test_nothing_but_distractors():
    embeds = torch.eye(3)
    for metric in (RecallAtK(), RecallAtK(1, "t2i"), RSum(), RetrievalNDCG(relevance=Table())):
        metric.update(embeds, embeds, ["a", "b", "c"], [-1, -1, -1], text_ids=[1, 2, 3])
        with pytest.raises(ValueError, match=r"has no query .*: it needs a"):
            metric.compute()


def test_repeats_without_text_ids_keep_arrival(make_batch):
    """Without ids distractors come last, and their place changes no value of a query."""
    batch = make_batch(20)
    alone = torch.randn(7, 8)
    values = []
    for before in (True, False):
        metric = RetrievalMetrics(ndcg_ks=(), coherent_ks=())
        parts = [(batch.image_embeds[:0], alone, batch.image_ids[:0], torch.full((7,), -1))]
        parts.insert(before, (batch.image_embeds, batch.text_embeds, batch.image_ids, batch.text_image_ids))
        for part in parts:
            metric.update(*part)
        values.append(metric.compute())
    assert values[0] == values[1]


def test_plausible_matches_leave_them_out(with_distractors, tmp_path):
    batch = with_distractors(12)
    path = tmp_path / "categories.json"
    path.write_text(json.dumps({image: [image % 3] for image in batch.image_ids.tolist()}))
    described = batch.select(torch.arange(12), batch.text_image_ids != -1)
    assert update(PMRP(path), batch).compute() == update(PMRP(path), described).compute()
