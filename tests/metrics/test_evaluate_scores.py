"""Given matrices: any number of matches per text and per image, none among them."""

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from vse_lightning.metrics import (
    PMRP,
    CoherentScore,
    MAPAtR,
    MeanRank,
    MedianRank,
    MissingRelevanceError,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RPrecision,
    RSum,
    evaluate_scores,
)


@pytest.fixture
def matrices():
    """Some texts match several images, image 0 and text 1 match nothing."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(9, 14, generator=generator)
    relevance = torch.rand(9, 14, generator=generator)
    positives = torch.rand(9, 14, generator=generator) < 0.3
    positives[0], positives[:, 1] = False, False
    assert (positives.sum(dim=0) > 1).any()
    assert (positives.sum(dim=1) > 1).any()
    return scores, relevance, positives


def ranks_of(scores, positives):
    """Of all positives of each query, best first; queries without any left out."""
    found = []
    for s, p in zip(scores.numpy(), positives.numpy(), strict=True):
        if p.any():
            order = np.argsort(-s, kind="stable")
            found.append(1 + np.flatnonzero(p[order]))
    return found


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
def test_every_metric_with_many_matches(matrices, direction):
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, relevance, positives = matrices
    s, r, p = (m if direction == "i2t" else m.T.contiguous() for m in (scores, relevance, positives))
    ranks, truth = ranks_of(s, p), r.masked_fill(p, 1).numpy()
    best = np.array([of_query[0] for of_query in ranks])
    at_r = [of_query <= len(of_query) for of_query in ranks]
    precisions = [np.arange(1, 1 + len(of_query)) / of_query for of_query in ranks]
    expected = {
        RecallAtK(1, direction): (best <= 1).mean(),
        RecallAtK(3, direction): (best <= 3).mean(),
        RecallAtK(3, direction, recall="all"): np.mean([(of_query <= 3).mean() for of_query in ranks]),
        MedianRank(direction): np.median(best),
        MeanRank(direction): best.mean(),
        MAPAtR(direction): np.mean([(a * b).mean() for a, b in zip(precisions, at_r, strict=True)]),
        RPrecision(direction): np.mean([of_query.mean() for of_query in at_r]),
        RetrievalNDCG(5, direction): sklearn.ndcg_score(
            2**truth - 1, s.numpy(), k=5
        ),  # every query: the matrix grades it
        RetrievalNDCG(5, direction, gain="linear"): sklearn.ndcg_score(truth, s.numpy(), k=5),
        CoherentScore(100, direction): np.mean([kendalltau(a, b).statistic for a, b in zip(s, truth, strict=True)]),
    }
    assert len(best) < len(s)
    for metric, value in expected.items():
        (found,) = evaluate_scores([metric], scores, relevance, positives).values()
        assert float(found) == pytest.approx(value, abs=1e-6), metric.name
    whole = [sklearn.average_precision_score(b, a) for a, b in zip(s, p, strict=True) if b.any()]
    assert np.mean([of_query.mean() for of_query in precisions]) == pytest.approx(np.mean(whole))  # the loop itself


def test_sum_of_recalls(matrices):
    scores, _, positives = matrices
    expected = 0
    for s, p in ((scores, positives), (scores.T, positives.T)):
        best = np.array([of_query[0] for of_query in ranks_of(s, p)])
        expected += sum(100 * (best <= k).mean() for k in (1, 5, 10))
    (found,) = evaluate_scores(RSum(), scores, None, positives).values()
    assert float(found) == pytest.approx(expected)


def test_metrics_of_any_kind(matrices):
    scores, relevance, positives = matrices
    standard = RetrievalMetrics(rank_statistics=True, prefix="val/", folds=5)
    values = evaluate_scores(standard, scores, relevance, positives)
    assert list(values) == list(RetrievalMetrics(rank_statistics=True))
    one = values["t2i_recall_at_5"]
    for metrics in (
        {"t2i_recall_at_5": RecallAtK(5, "t2i")},
        MetricCollection({"t2i_recall_at_5": RecallAtK(5, "t2i")}),
        [RecallAtK(5, "t2i")],
        RecallAtK(5, "t2i"),
    ):
        assert evaluate_scores(metrics, scores, relevance, positives) == {"t2i_recall_at_5": one}
    with pytest.warns(
        UserWarning, match="i2t_ndcg_at_10, .* left out: they need graded relevance: give relevance, a mat"
    ):
        assert "rsum" in evaluate_scores(standard, scores, positives=positives)
    with pytest.raises(
        MissingRelevanceError, match="ndcg needs graded relevance: give relevance, a matrix as large as"
    ):
        evaluate_scores({"ndcg": RetrievalNDCG()}, scores, positives=positives)


def test_arrays(matrices):
    values = evaluate_scores(RetrievalMetrics(), *(matrix.numpy() for matrix in matrices))
    assert values == evaluate_scores(RetrievalMetrics(), *matrices)


def test_scores_of_a_model_carry_no_gradient(matrices):
    scores, relevance, positives = matrices
    values = evaluate_scores(RetrievalMetrics(), scores.clone().requires_grad_(), relevance, positives)
    assert not any(value.requires_grad for value in values.values())


def test_wrong_matrices(matrices, tmp_path):
    scores, relevance, positives = matrices
    (tmp_path / "categories.json").write_text('{"1": [1]}')
    for broken in (torch.nan, -torch.nan):
        some = scores.clone()
        some[3, 4] = broken
        with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
            evaluate_scores(RecallAtK(), some, None, positives)
        some = relevance.clone()
        some[3, 4] = broken
        with pytest.raises(ValueError, match=r"relevance must lie in \[0, 1\]"):
            evaluate_scores(RetrievalNDCG(), scores, some, positives)
    with pytest.raises(ValueError, match=r"relevance must have the shape of scores \(9, 14\), got \(14, 9\)"):
        evaluate_scores(RecallAtK(), scores, relevance.T, positives)
    with pytest.raises(ValueError, match="positives must be a bool mask"):
        evaluate_scores(RecallAtK(), scores, None, positives.int())
    with pytest.raises(ValueError, match=r"i2t_recall_at_1 has no query .*: it needs positives that mark a match"):
        evaluate_scores(RecallAtK(), scores, None, torch.zeros_like(positives))
    with pytest.raises(ValueError, match=r"it needs an image, and a candidate besides its matches$"):
        evaluate_scores(RetrievalNDCG(5, exclude_positives=True), scores, relevance, torch.ones_like(positives))
    with pytest.raises(ValueError, match="direction 'i2i' needs embeddings"):
        evaluate_scores(RetrievalNDCG(5, "i2i"), scores, relevance, positives)
    with pytest.raises(ValueError, match="pmrp: PMRP needs ids, which scores do not have"):
        evaluate_scores(PMRP(tmp_path / "categories.json"), scores, None, positives)
    with pytest.raises(ValueError, match="scores must be"):
        evaluate_scores(RecallAtK(), scores[:, :0], None, positives[:, :0])
    with pytest.raises(ValueError, match=r"scores must be of at least one image, got \(0, 14\)"):
        evaluate_scores(RecallAtK(), scores[:0], None, positives[:0])
