"""Metrics that read whole lists, or lists without the query's own positives, against loops over the definitions."""

import numpy as np
import pytest
import torch

from vse_lightning.metrics import (
    CoherentScore,
    CumulativeSemantic,
    HierarchicalAP,
    MeanAveragePrecision,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    evaluate_embeddings,
    evaluate_scores,
)

kendalltau = pytest.importorskip("scipy.stats").kendalltau
sklearn = pytest.importorskip("sklearn.metrics")


def graded(direction):
    return [
        RetrievalNDCG("relevant", direction, "linear"),
        RetrievalNDCG(7, direction, exclude_positives=True),
        RetrievalNDCG("relevant", direction, exclude_positives=True),
        CoherentScore(6, direction, exclude_positives=True),
        CoherentScore(1000, direction, exclude_positives=True),
        HierarchicalAP(direction),
        HierarchicalAP(direction, exclude_positives=True),
        CumulativeSemantic(4, direction),
        MeanAveragePrecision(direction, positive_threshold=0.6),
    ]


def every_metric():
    """Those of all directions."""
    metrics = [metric for direction in ("i2t", "t2i", "i2i", "t2t") for metric in graded(direction)]
    return metrics + [MeanAveragePrecision(direction) for direction in ("i2t", "t2i", "t2t")]


def tau(s, r):
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(kendalltau(s, r).statistic) if len(s) > 1 else 0


def hierarchical_ap(s, r):
    values = [r[k] and np.minimum(r[s >= s[k]], r[k]).sum() / (s >= s[k]).sum() for k in range(len(s))]
    return sum(values) / r.sum() if r.sum() else 0


def ndcg(s, r, k, power):
    gains = 2**r - 1 if power else r
    return sklearn.ndcg_score([gains], [s], k=max(1, k)) if len(s) > 1 else float(gains[0] > 0)


def semantic(s, r, k):
    shared = np.array([r[s == score].mean() for score in s])  # of equal scores
    best = -np.sort(-r)[:k]
    return shared[np.argsort(-s)[:k]].sum() / best.sum() if best.sum() else None


def precision(s, p):
    return sklearn.average_precision_score(p, s) if p.any() else None


def of_query(s, r, p):
    """All values of a query, in the order of ``graded``; None where it does not count."""
    others, rest = s[~p], r[~p]
    return [
        ndcg(s, r, (r > 0).sum(), power=False),
        ndcg(others, rest, 7, power=True),
        ndcg(others, rest, (rest > 0).sum(), power=True),
        tau(*(lists[np.argsort(-others, kind="stable")[:6]] for lists in (others, rest))),
        tau(others, rest),
        hierarchical_ap(s, r),
        hierarchical_ap(others, rest),
        semantic(others, rest, 4),
        precision(s, r >= 0.6),
    ]


def expected(direction, scores, relevance, positives, itself=None):
    rows = []
    for query, (s, r, p) in enumerate(zip(scores, relevance, positives, strict=True)):
        kept = np.arange(len(s)) != (-1 if itself is None else itself[query])
        rows.append([*of_query(s[kept], r[kept], p[kept]), precision(s[kept], p[kept])])
    metrics = graded(direction) + ([] if direction == "i2i" else [MeanAveragePrecision(direction)])
    return {
        metric.name: np.mean([row[place] for row in rows if row[place] is not None])
        for place, metric in enumerate(metrics)
    }


def lists_of(batch):
    """Scores, relevance and matches by direction, as float64 arrays in the order of ids."""
    batch = batch.select(batch.image_ids.argsort(), batch.text_ids.argsort())
    embeds = [torch.nn.functional.normalize(e.double(), dim=1).numpy() for e in (batch.image_embeds, batch.text_embeds)]
    features = torch.nn.functional.normalize(batch.text_features.double(), dim=1)
    own = (batch.image_ids[:, None] == batch.text_image_ids).numpy()
    cosines = (features @ features.T).clamp(0, 1).numpy()
    to_texts = np.stack([cosines[texts].max(axis=0) for texts in own])
    to_texts[own] = 1
    between = np.stack([to_texts[:, texts].max(axis=1) for texts in own], axis=1)
    same_image = (batch.text_image_ids[:, None] == batch.text_image_ids).numpy()
    np.fill_diagonal(same_image, val=False)
    everyone = [np.arange(count) for count in own.shape]
    none = np.zeros_like(between, dtype=bool)
    scores = [(a @ b.T).round(6) for a, b in ((embeds[0], embeds[1]), (embeds[0], embeds[0]), (embeds[1], embeds[1]))]
    return {
        "i2t": (scores[0], to_texts, own),
        "t2i": (scores[0].T, to_texts.T, own.T),
        "i2i": (scores[1], between, none, everyone[0]),
        "t2t": (scores[2], np.where(same_image, 1, cosines), same_image, everyone[1]),
    }


def rounded(images, texts):
    """Scores with ties."""
    unit = [torch.nn.functional.normalize(embeds, dim=1) for embeds in (images.double(), texts.double())]
    return (unit[0] @ unit[1].T).round(decimals=1)


@pytest.mark.parametrize("ties", [False, True])
def test_equal_loops(make_batch, ties, assert_equal):
    batch = make_batch(70, dtype=torch.float64)
    similarity = rounded if ties else None
    metrics = RetrievalMetrics.of(every_metric())
    metrics.similarity = similarity
    values = batch.feed(metrics, batch_size=9).compute()
    loops = {}
    for direction, (scores, *lists) in lists_of(batch).items():
        loops |= expected(direction, scores.round(1) if ties else scores, *lists)
    assert_equal(values, loops, tolerance=1e-5)


def test_alone_in_blocks_and_beside_others(make_batch, assert_equal):
    batch = make_batch(150)
    together = RetrievalMetrics(extra=every_metric(), average_precision=True, chunk_size=64)
    values = batch.feed(together).compute()
    standard = RetrievalMetrics(average_precision=True)
    assert_equal({name: values[name] for name in standard}, batch.feed(standard).compute())
    for metric in every_metric():
        alone = batch.feed(metric).compute()
        assert float(alone) == pytest.approx(float(values[metric.name]), abs=2e-6), metric.name


def test_held_pairs_change_nothing(make_batch, monkeypatch, assert_equal):
    batch = make_batch(70)
    held = batch.feed(RetrievalMetrics(extra=every_metric())).compute()
    monkeypatch.setattr("vse_lightning.ranking.query_values.MOST_PAIRS", 0)
    assert_equal(batch.feed(RetrievalMetrics(extra=every_metric())).compute(), held)


def test_folds_are_galleries_of_their_own(make_batch, assert_equal):
    batch = make_batch(40, dtype=torch.float64)
    values = batch.feed(RetrievalMetrics((), (), (), extra=every_metric(), folds=2)).compute()
    order = batch.image_ids.argsort()
    halves = []
    for images in (order[:20], order[20:]):
        texts = torch.isin(batch.text_image_ids, batch.image_ids[images]).nonzero()[:, 0]
        halves.append(batch.select(images, texts).feed(RetrievalMetrics.of(every_metric())).compute())
    assert_equal(values, {name: (halves[0][name] + halves[1][name]) / 2 for name in values})


def test_distractors_are_candidates_and_no_queries(make_batch):
    batch = make_batch(30, dtype=torch.float64)
    alone = batch.text_image_ids == batch.image_ids[0]
    batch.text_image_ids[alone] = -1
    texts = batch.text_ids.argsort()
    relevance = torch.rand(30, len(texts), generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    class Table:
        label = "random"

        def block(self, image_ids, text_ids):
            rows = torch.searchsorted(batch.image_ids.sort().values, image_ids)
            return relevance[rows][:, torch.searchsorted(batch.text_ids.sort().values, text_ids)]

    metrics = RetrievalMetrics.of([metric for way in ("i2t", "t2i") for metric in graded(way)])
    metrics.relevance = Table()
    everything = {name: rows for name, rows in vars(batch).items() if name != "text_features"}
    metrics.update(**everything)
    values = metrics.compute()
    images = batch.image_ids.argsort()
    unit = [torch.nn.functional.normalize(e, dim=1) for e in (batch.image_embeds[images], batch.text_embeds[texts])]
    scores = (unit[0] @ unit[1].T).numpy()
    own = (batch.image_ids.sort().values[:, None] == batch.text_image_ids[texts]).numpy()
    graded_truth = np.where(own, 1, relevance.numpy())
    asks = own.any(axis=1)
    loops = expected("i2t", scores[asks], graded_truth[asks], own[asks])
    described = own.any(axis=0)
    loops |= expected("t2i", scores.T[described], graded_truth.T[described], own.T[described])
    for name, value in values.items():
        assert float(value) == pytest.approx(loops[name], abs=1e-5), name


def test_matrices_with_many_positives_on_both_sides():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(30, 50, generator=generator, dtype=torch.float64).mul(20).round() / 20
    relevance = torch.rand(30, 50, generator=generator, dtype=torch.float64)
    relevance[relevance < 0.3] = 0
    positives = relevance > 0.7
    positives[3] = False
    metrics = [m for way in ("i2t", "t2i") for m in (*graded(way), MeanAveragePrecision(way))]
    values = evaluate_scores(metrics, scores, relevance, positives)
    truth = relevance.masked_fill(positives, 1).numpy()
    loops = expected("i2t", scores.numpy(), truth, positives.numpy())
    loops |= expected("t2i", scores.numpy().T, truth.T, positives.numpy().T)
    for name, value in values.items():
        assert float(value) == pytest.approx(loops[name], abs=1e-9), name


def test_a_query_with_nothing_relevant_left_does_not_count():
    scores, relevance = torch.tensor([[0.9, 0.5, 0.1], [0.3, 0.8, 0.2]]), torch.tensor([[1.0, 0, 0], [0.5, 1, 0.25]])
    positives = relevance == 1
    value = evaluate_scores([CumulativeSemantic(1)], scores, relevance, positives)
    assert value == {"i2t_cumulative_semantic_at_1": 1}
    with pytest.raises(ValueError, match=r"has no query .* something relevant"):
        evaluate_scores([CumulativeSemantic(1)], scores[:1], relevance[:1], positives[:1])


def test_names_and_what_is_refused():
    assert RetrievalNDCG(5, exclude_positives=True).name == "i2t_ndcg_at_5_without_positives"
    assert RetrievalNDCG("relevant").displays[""].name == "NDCG@relevant"
    assert MeanAveragePrecision("t2i", 0.5).name == "t2i_map_from_0_5"
    assert MeanAveragePrecision(positive_threshold=0.5).graded
    assert not MeanAveragePrecision().graded
    for wrong in ("all", 0, 2.5):
        with pytest.raises(ValueError, match="k must be a whole number"):
            RetrievalNDCG(wrong)
    for threshold in (0, 1.5, "high"):
        with pytest.raises(ValueError, match="positive_threshold must"):
            MeanAveragePrecision(positive_threshold=threshold)
    with pytest.raises(ValueError, match="no image matches another"):
        MeanAveragePrecision("i2i")


def test_a_metric_that_returns_something_else_is_named():
    class Broken(RecallAtK):
        def query_values(self, ranking):
            return ranking.positive_ranks[:, 0] * torch.nan

    class Short(RecallAtK):
        def query_values(self, ranking):
            return ranking.positive_ranks[:2, 0]

    for metric, message in ((Broken(), "for each of 4 queries, got NaN"), (Short(), r"got \(2,\)")):
        with pytest.raises(ValueError, match=f"i2t_recall_at_1: query_values must .*{message}"):
            evaluate_embeddings(torch.eye(4), torch.eye(4), metrics=[metric])
