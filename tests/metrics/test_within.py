"""Image-to-image and text-to-text retrieval against loops over queries."""

import numpy as np
import pytest
import torch

from vse_lightning.metrics import CoherentScore, MAPAtR, MedianRank, RecallAtK, RetrievalMetrics, RetrievalNDCG, RSum
from vse_lightning.relevance import CIDErRelevance, FeatureTable


def normalised(rows):
    return (rows.double() / rows.double().norm(dim=1, keepdim=True)).numpy()


def loops(scores, relevance, matches, ndcg_k=5, coherent_k=10):
    """Values of the graded metrics and of the recalls, leaving out the query itself."""
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    ndcgs, taus, ranks = [], [], []
    for query in range(len(scores)):
        others = np.arange(len(scores)) != query
        s, r, m = scores[query, others], relevance[query, others], matches[query, others]
        r = np.where(m, 1, r)
        ndcgs.append(ndcg_score([2**r - 1], [s], k=ndcg_k))
        best = np.argsort(-s, kind="stable")[:coherent_k]
        taus.append(kendalltau(s[best], r[best]).statistic)
        if m.any():
            ranks.append(1 + int(((s >= s[m].max()) & ~m).sum()))
    return np.mean(ndcgs), np.mean(taus), np.array(ranks)


@pytest.fixture
def by_loops():
    """The gallery in the order of its ids, and its values by loops."""

    def compute(batch, direction):
        images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
        batch = batch.select(images, texts)
        features = normalised(batch.text_features)
        between_captions = (features @ features.T).clip(0, 1)
        owner = batch.text_image_ids.numpy()
        if direction == "t2t":
            embeds = normalised(batch.text_embeds)
            return loops(embeds @ embeds.T, between_captions, owner[:, None] == owner)
        embeds = normalised(batch.image_embeds)
        of_image = [owner == image for image in batch.image_ids.tolist()]
        relevance = np.array([[between_captions[np.ix_(a, b)].max() for b in of_image] for a in of_image])
        return loops(embeds @ embeds.T, relevance, np.zeros_like(relevance, dtype=bool))

    return compute


@pytest.mark.parametrize("direction", ["i2i", "t2t"])
@pytest.mark.parametrize(("num_images", "chunk_size"), [(23, None), (150, 64)])
def test_equal_loops(make_batch, by_loops, direction, num_images, chunk_size):
    batch = make_batch(num_images)
    ndcg, tau, ranks = by_loops(batch, direction)
    options = {"direction": direction, "chunk_size": chunk_size}
    assert float(batch.feed(RetrievalNDCG(5, **options)).compute()) == pytest.approx(ndcg, abs=2e-6)
    assert float(batch.feed(CoherentScore(10, **options)).compute()) == pytest.approx(tau, abs=2e-6)
    if direction == "t2t":  # one image in three has a single caption, which no other text matches
        assert len(ranks) < len(batch.text_ids)
        assert float(batch.feed(RecallAtK(5, **options)).compute()) == pytest.approx((ranks <= 5).mean())
        assert float(batch.feed(MedianRank(**options)).compute()) == np.median(ranks)


def test_every_other_counts_once_and_never_the_query():
    """Two pictures that are alike: each finds the other first, and the list ends before the query."""
    images = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    ids = torch.arange(3)
    features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    metric = CoherentScore(k=100, direction="i2i")
    metric.update(images, images, ids, ids, text_features=features)
    assert metric.per_query()["i2i"].tolist() == [1.0, 1.0, 1.0]
    metric = RetrievalNDCG(k=2, direction="i2i", gain="linear")
    metric.update(images, images, ids, ids, text_features=features[[0, 2, 1]])
    # from the first picture the list is (0, 0.8), and (0.8, 0) would be ideal
    assert float(metric.per_query()["i2i"][0]) == pytest.approx(1 / np.log2(3))


def test_copies_tie(make_batch):
    """A copy of the query ties with it, but only the query itself is left out."""
    batch = make_batch(40, captions=(2,))
    batch.text_embeds[:] = batch.text_embeds[0]
    metric = batch.feed(RecallAtK(1, "t2t"))
    assert metric.compute() == 0  # a tie never helps
    assert batch.feed(RecallAtK(78, "t2t")).compute() == 0
    assert batch.feed(RecallAtK(79, "t2t")).compute() == 1


@pytest.mark.parametrize("direction", ["i2i", "t2t"])
def test_labels_from_a_table(make_batch, direction):
    batch = make_batch(60)
    table = FeatureTable(batch.text_features, batch.text_image_ids, batch.text_ids, label="by hand")
    expected = batch.feed(RetrievalNDCG(5, direction)).compute()
    assert batch.feed(RetrievalNDCG(5, direction, relevance=table)).compute() == pytest.approx(
        float(expected), abs=1e-6
    )


def test_cider_between_texts():
    pytest.importorskip("scipy")
    captions = ["a dog runs on the grass", "the dog runs", "a cat sleeps", "the cat sleeps on the grass", "a red bus"]
    image_ids, text_ids = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([5, 6, 7, 8, 9])
    source = CIDErRelevance().fit(captions, image_ids)
    alone = source.table(captions, text_ids, text_ids)
    between = source.table(captions, image_ids, text_ids).between_texts()
    relevance, expected = between.block(text_ids, text_ids), alone.block(text_ids, text_ids)
    different_images = image_ids[:, None] != image_ids
    torch.testing.assert_close(relevance[different_images], expected[different_images])
    assert expected[different_images].max() > 0.01
    assert relevance.diagonal().eq(1).all()


def test_collection_of_all_directions(make_batch):
    batch = make_batch(30)
    metrics = RetrievalMetrics((1,), (5,), (10,), directions=("i2t", "t2i", "i2i", "t2t"), average_precision=True)
    values = batch.feed(metrics).compute()
    assert [name for name in values if name.startswith("i2i")] == ["i2i_ndcg_at_5", "i2i_coherent_score_at_10"]
    assert "t2t_recall_at_1" in values
    assert "rsum" in values
    alone = batch.feed(RetrievalMetrics((1,), (5,), (10,), average_precision=True)).compute()
    assert {name: values[name] for name in alone} == alone
    assert values["t2t_map_at_r"] == batch.feed(MAPAtR("t2t")).compute()
    assert "rsum" not in RetrievalMetrics(directions=("i2t",))


def test_folds_and_first_captions(make_batch):
    batch = make_batch(30, captions=(2, 3))
    of_folds = []
    for images in batch.image_ids.argsort().chunk(3):
        texts = torch.isin(batch.text_image_ids, batch.image_ids[images]).nonzero()[:, 0]
        of_folds.append(float(batch.select(images, texts).feed(RetrievalNDCG(5, "t2t")).compute()))
    folded = batch.feed(RetrievalNDCG(5, "t2t", folds=3)).compute()
    assert float(folded) == pytest.approx(np.mean(of_folds), abs=1e-6)
    with pytest.raises(
        ValueError,
        match="t2t_recall_at_1 has no query in the gallery or one of its folds: it needs an image with two texts",
    ):
        batch.feed(RecallAtK(1, "t2t", captions_per_image=1)).compute()


def test_what_makes_no_sense(make_batch):
    with pytest.raises(ValueError, match="direction must be one of i2t, t2i, t2t, got 'i2i', where no image matches"):
        RecallAtK(1, "i2i")
    with pytest.raises(ValueError, match="direction must be one of 'i2t', 't2i', 'i2i', 't2t', got 't2v'"):
        RetrievalNDCG(direction="t2v")
    with pytest.raises(ValueError, match="every entry of directions must be one of"):
        RetrievalMetrics(directions=("i2t", "v2t"))
    with pytest.raises(ValueError, match="it needs two images, one of them with a text"):
        make_batch(1).feed(CoherentScore(direction="i2i")).compute()
    batch = make_batch(5)

    class ImagesToTexts:
        label = "by hand"

        def block(self, image_ids, text_ids, captions_per_image=None):
            return torch.zeros(len(image_ids), len(text_ids))

    with pytest.raises(ValueError, match="direction 't2t' needs labels with a method between_texts"):
        batch.feed(RetrievalNDCG(direction="t2t", relevance=ImagesToTexts())).compute()
    assert RSum().directions == ("i2t", "t2i")
