"""The same numbers as other packages, on the same inputs; the README's table shows them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics import retrieval

from vse_lightning.functional import agreement
from vse_lightning.metrics import (
    CoherentScore,
    CumulativeSemantic,
    ECCVCaption,
    HierarchicalAP,
    MeanAveragePrecision,
    MeanRank,
    MedianRank,
    RecallAtK,
    RetrievalNDCG,
    RPrecision,
    evaluate_scores,
)

stats = pytest.importorskip("scipy.stats")
sklearn = pytest.importorskip("sklearn.metrics")

README = (Path(__file__).parents[2] / "README.md").read_text()


def inputs():
    """30 images and 90 texts, 3 of each image; positive scores without ties; labels of five grades."""
    draw = np.random.default_rng(0)
    matches = np.arange(30)[:, None] == np.arange(90) // 3
    relevance = np.where(matches, 1, draw.integers(0, 4, (30, 90)) / 4 * (draw.random((30, 90)) < 0.5))
    return 1 / (1 + np.exp(-relevance / 2 - draw.normal(0, 0.3, (30, 90)))), relevance, matches


SCORES, RELEVANCE, MATCHES = inputs()
OURS = {
    "RecallAtK(5)": RecallAtK(5),
    'RecallAtK(5, recall="all")': RecallAtK(5, recall="all"),
    "MedianRank()": MedianRank(),
    "MeanRank()": MeanRank(),
    "RPrecision()": RPrecision(),
    "MeanAveragePrecision()": MeanAveragePrecision(),
    "MeanAveragePrecision(positive_threshold=0.5)": MeanAveragePrecision(positive_threshold=0.5),
    'RetrievalNDCG(10, gain="linear")': RetrievalNDCG(10, gain="linear"),
    "RetrievalNDCG(10)": RetrievalNDCG(10),
    'RetrievalNDCG("relevant", gain="linear")': RetrievalNDCG("relevant", gain="linear"),
    "CoherentScore(20)": CoherentScore(20),
    "HierarchicalAP()": HierarchicalAP(),
    "CumulativeSemantic(10)": CumulativeSemantic(10),
}


def ours(name):
    return float(evaluate_scores({"value": OURS[name]}, SCORES, RELEVANCE, MATCHES)["value"])


def in_order(matrix):
    """The rows of a matrix as the scores order them."""
    return np.take_along_axis(matrix, np.argsort(-SCORES, axis=1), axis=1)


def mean(values):
    return float(np.mean(list(values)))


def best_ranks():
    """As VSE++ finds them: the smallest place of the five captions, here of three."""
    return np.array([np.flatnonzero(row).min() + 1 for row in in_order(MATCHES)])


def dcg(relevance, cutoffs):
    discount = np.log2(np.arange(2, relevance.shape[1] + 2))
    return np.array([(row[:k] / discount[:k]).sum() for row, k in zip(relevance, cutoffs, strict=True)])


def epic_kitchens_ndcg():
    cutoffs = (RELEVANCE > 0).sum(axis=1)
    return mean(dcg(in_order(RELEVANCE), cutoffs) / dcg(-np.sort(-RELEVANCE, axis=1), cutoffs))


def happier():
    def of_query(r):
        return sum(np.minimum(r[: k + 1], r[k]).sum() / (k + 1) for k in range(len(r))) / r.sum()

    return mean(map(of_query, in_order(RELEVANCE)))


def semantic_score():
    def of_query(r, own):
        return r[~own][:10].sum() / -np.sort(-r[~own])[:10].sum() * -1

    return -mean(of_query(r, own) for r, own in zip(in_order(RELEVANCE), in_order(MATCHES), strict=True))


def kendall():
    best = np.argsort(-SCORES, axis=1)[:, :20]
    rows = zip(np.take_along_axis(SCORES, best, 1), np.take_along_axis(RELEVANCE, best, 1), strict=True)
    return mean(stats.kendalltau(*row).statistic for row in rows)


def of_torchmetrics(metric, target=MATCHES):
    """Means over the queries of one of their metrics."""
    indexes = torch.arange(30).repeat_interleave(90)
    return float(metric(*(torch.from_numpy(matrix.ravel()) for matrix in (SCORES, target)), indexes=indexes))


PRECISIONS = (sklearn.average_precision_score(row, scores) for row, scores in zip(MATCHES, SCORES, strict=True))
FROM_HALF = (sklearn.average_precision_score(row >= 0.5, s) for row, s in zip(RELEVANCE, SCORES, strict=True))
THEIRS = {
    "RecallAtK(5)": {
        "VSE++": lambda: mean(best_ranks() <= 5),
        "torchmetrics": lambda: of_torchmetrics(retrieval.RetrievalHitRate(top_k=5)),
    },
    'RecallAtK(5, recall="all")': {"torchmetrics": lambda: of_torchmetrics(retrieval.RetrievalRecall(top_k=5))},
    "MedianRank()": {"VSE++": lambda: float(np.median(best_ranks()))},
    "MeanRank()": {"VSE++": lambda: mean(best_ranks())},
    "RPrecision()": {"torchmetrics": lambda: of_torchmetrics(retrieval.RetrievalRPrecision())},
    "MeanAveragePrecision()": {
        "scikit-learn": lambda: mean(PRECISIONS),
        "torchmetrics": lambda: of_torchmetrics(retrieval.RetrievalMAP()),
    },
    "MeanAveragePrecision(positive_threshold=0.5)": {"scikit-learn": lambda: mean(FROM_HALF)},
    'RetrievalNDCG(10, gain="linear")': {
        "scikit-learn": lambda: sklearn.ndcg_score(RELEVANCE, SCORES, k=10),
        "torchmetrics": lambda: of_torchmetrics(retrieval.RetrievalNormalizedDCG(top_k=10), RELEVANCE),
    },
    "RetrievalNDCG(10)": {"scikit-learn": lambda: sklearn.ndcg_score(2**RELEVANCE - 1, SCORES, k=10)},
    'RetrievalNDCG("relevant", gain="linear")': {"EPIC-Kitchens": epic_kitchens_ndcg},
    "CoherentScore(20)": {"scipy": kendall},
    "HierarchicalAP()": {"HAPPIER": happier},
    "CumulativeSemantic(10)": {"its equation": semantic_score},
}
CASES = [(name, package) for name, packages in THEIRS.items() for package in packages]
TREC_EVAL = {
    "RecallAtK(5)": "success_5",
    'RecallAtK(5, recall="all")': "recall_5",
    "RPrecision()": "Rprec",
    "MeanAveragePrecision()": "map",
    'RetrievalNDCG(10, gain="linear")': "ndcg_cut_10",
}


@pytest.mark.parametrize(("name", "package"), CASES, ids=map(" = ".join, CASES))
def test_same_number(name, package):
    value = ours(name)
    assert value == pytest.approx(THEIRS[name][package](), abs=1e-6)
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
    assert package in row
    assert f"| {value:.6f} |" in row


def test_the_same_numbers_as_trec_eval():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    names = [f"text{column:02}" for column in range(90)]

    def by_name(matrix):
        return {str(row): dict(zip(names, values.tolist(), strict=True)) for row, values in enumerate(matrix)}

    measures = ("success", "recall", "Rprec", "map", "ndcg_cut")
    for judged in (MATCHES.astype(int), (4 * RELEVANCE).astype(int)):
        evaluator = pytrec_eval.RelevanceEvaluator(by_name(judged), measures)
        values = evaluator.evaluate(by_name(SCORES)).values()
        for name, measure in TREC_EVAL.items():
            if (measure == "ndcg_cut_10") == (judged.max() > 1):  # gains are grades; all else counts grades above 0
                assert ours(name) == pytest.approx(mean(of_query[measure] for of_query in values), abs=1e-6), name
                assert f"trec_eval `{measure}`" in README


def test_the_same_numbers_as_scipy_for_people():
    values, ratings = SCORES.ravel()[:200], np.random.default_rng(1).integers(1, 5, 200)
    found = agreement(torch.from_numpy(values), torch.from_numpy(ratings))
    assert found["kendall_b"] == pytest.approx(stats.kendalltau(values, ratings).statistic)
    assert found["kendall_c"] == pytest.approx(stats.kendalltau(values, ratings, variant="c").statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(values, ratings).statistic)


def test_the_same_numbers_as_pycocoevalcap():
    scorer = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    from vse_lightning.relevance import CIDErRelevance

    captions = ["a dog runs over grass", "a brown dog is running", "two men play chess", "men at a board of chess"]
    captions += ["a red car on a road", "the car is parked"]
    image_ids = torch.arange(3).repeat_interleave(2)
    source = CIDErRelevance()
    source.fit(captions, image_ids)
    block = source.table(captions, image_ids).block(torch.arange(3), torch.arange(6))
    texts = [2, 5, 0]  # a text of another image for each
    references = {image: captions[2 * image : 2 * image + 2] for image in range(3)}
    _, theirs = scorer.compute_score(references, {image: [captions[text]] for image, text in enumerate(texts)})
    torch.testing.assert_close(block[torch.arange(3), texts].double(), torch.from_numpy(theirs) / 10, atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:failed to import `ujson`")
def test_the_same_numbers_as_eccv_caption(capsys):
    eccv_caption = pytest.importorskip("eccv_caption")
    metric = ECCVCaption()
    generator = torch.Generator().manual_seed(0)
    image_ids, text_ids = metric._image_ids, metric._text_ids
    images = torch.randn(len(image_ids), 12, generator=generator)
    image_of = torch.randint(len(image_ids), (len(text_ids),), generator=generator)
    texts = images[image_of] + torch.randn(len(text_ids), 12, generator=generator)
    metric.update(images, texts, image_ids, image_ids[image_of], text_ids=text_ids)
    values = metric.compute()
    scores = torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    best = [text_ids[scores.topk(50).indices], image_ids[scores.T.contiguous().topk(50).indices]]
    best = [
        dict(zip(ids.tolist(), of.tolist(), strict=True)) for ids, of in zip((image_ids, text_ids), best, strict=True)
    ]
    wanted = ("eccv_r1", "eccv_map_at_r", "eccv_rprecision", "cxc_recalls")
    theirs = eccv_caption.Metrics().compute_all_metrics(*best, target_metrics=wanted)
    names = {"eccv_r1": "eccv_recall_at_1", "eccv_rprecision": "eccv_r_precision", "eccv_map_at_r": "eccv_map_at_r"}
    names |= {f"cxc_r{k}": f"cxc_recall_at_{k}" for k in (1, 5, 10)}
    assert theirs.keys() == names.keys()
    for name, of_direction in theirs.items():
        for direction, value in of_direction.items():
            assert float(values[f"{direction}_{names[name]}"]) == pytest.approx(value, rel=1e-6), (direction, name)
