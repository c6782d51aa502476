"""``evaluate --relevance``: graded truth of the user's own."""

import numpy as np
import pytest

from vse_lightning.metrics import CoherentScore, RecallAtK, RetrievalNDCG, evaluate_scores

oracle = pytest.importorskip("sklearn.metrics")


@pytest.fixture
def graded(outputs):
    """Relevance in quarters, where several texts match an image and several images a text, and its path."""
    draw = np.random.default_rng(3)
    relevance = draw.integers(0, 4, (12, 24)).astype("f4") / 4
    relevance[draw.random((12, 24)) < 0.1] = 1
    np.save(outputs.folder / "truth.npy", relevance)
    return relevance, outputs.folder / "truth.npy"


@pytest.fixture
def scores(outputs):
    np.save(outputs.folder / "model.npy", outputs.scores)
    return outputs.folder / "model.npy"


NDCG = ["--extra_metrics", "vse_lightning.metrics.RetrievalNDCG", "--extra_metrics.gain", "linear"]
NDCG += ["--extra_metrics.k", "relevant"]


def test_matrix_alone_says_what_matches(outputs, evaluate, values_of, graded, scores):
    relevance, path = graded
    found = evaluate(scores, "--relevance", path, "--ranks", "--intervals")
    values = values_of(found)
    metrics = {"i2t_recall_at_5": RecallAtK(5), "t2i_recall_at_1": RecallAtK(1, "t2i")}
    metrics |= {"i2t_ndcg_at_10": RetrievalNDCG(10), "t2i_coherent_score_at_100": CoherentScore(100, "t2i")}
    expected = evaluate_scores(metrics, outputs.scores, relevance, relevance == 1)
    assert {name: values[name] for name in metrics} == pytest.approx({name: float(of) for name, of in expected.items()})
    assert found["labels"] == {"": "truth.npy, where at least 1 is a match"}
    ndcg = found["models"]["model"]["i2t_ndcg_at_10"]
    assert ndcg["interval"][0] < ndcg["value"] < ndcg["interval"][1]
    assert "interval" not in found["models"]["model"]["rsum"]  # queries are resampled one by one
    assert found["baselines"]["ideal"]["i2t_ndcg_at_10"] == pytest.approx(1)
    assert 0 < found["baselines"]["random"]["i2t_ndcg_at_10"] < 1


def test_embeddings_are_their_scores(outputs, evaluate, values_of, graded, scores):
    asked = "--relevance", graded[1], "--positive_threshold", "0.75"
    assert values_of(evaluate(outputs.save(), *asked)) == pytest.approx(values_of(evaluate(scores, *asked)))


def test_threshold_counts_matches_and_leaves_relevance(outputs, evaluate, values_of, graded, scores):
    relevance, path = graded
    extra = ["--extra_metrics", "vse_lightning.metrics.MeanAveragePrecision"]
    values = values_of(evaluate(scores, "--relevance", path, "--positive_threshold", "0.75", "--ndcg_ks", "12", *extra))
    matching = [(row, of) for row, of in zip(outputs.scores, relevance >= 0.75, strict=True) if of.any()]
    assert values["i2t_map"] == pytest.approx(
        np.mean([oracle.average_precision_score(of, row) for row, of in matching])
    )
    assert values["i2t_recall_at_1"] == pytest.approx(np.mean([of[row.argmax()] for row, of in matching]))
    assert values["t2i_ndcg_at_12"] == pytest.approx(
        oracle.ndcg_score(2**relevance.T - 1, outputs.scores.T, k=12), abs=1e-6
    )


def test_the_example_of_epic_kitchens(outputs, evaluate, values_of):
    np.save(outputs.folder / "s.npy", [[1, 0.7, 0.4, 0], [0.3, 0.9, 0.6, 0.1], [0.2, 0.5, 0.8, 0.4]])
    np.save(outputs.folder / "r.npy", [[1, 0.5, 0.25, 0], [0, 1, 0.4, 0], [0.5, 0.3, 1, 0]])
    found = evaluate(outputs.folder / "s.npy", "--relevance", outputs.folder / "r.npy", *NDCG)
    assert values_of(found, "s")["i2t_ndcg_at_relevant"] == pytest.approx(0.93717899)


def test_with_captions_own_ones_match_too(outputs, evaluate, values_of, graded, scores, capsys):
    relevance, path = graded
    own = (outputs.image_ids[:, None] == outputs.text_image_ids).numpy()
    asked = "--captions", outputs.captions, "--relevance", path, "--labels", "cider"
    found = evaluate(scores, *asked, "--intervals")
    values = values_of(found)
    expected = evaluate_scores(
        {"i2t_recall_at_1": RecallAtK(1), "t2i_ndcg_at_10": RetrievalNDCG(10, "t2i")},
        outputs.scores,
        np.where(own, 1, relevance),
        own | (relevance == 1),
    )
    assert {name: values[name] for name in expected} == pytest.approx(
        {name: float(of) for name, of in expected.items()}
    )
    assert "interval" in found["models"]["model"]["rsum"]
    assert {"t2i_ndcg_at_10", "t2i_ndcg_at_10_cider"} <= values.keys()
    assert "NDCG@10 (truth.npy)" in capsys.readouterr().out
    whole = np.zeros((21, len(outputs.texts_of_file)))
    whole[np.ix_(outputs.image_ids, outputs.text_ids)] = relevance
    np.save(path, whole)
    assert values_of(evaluate(scores, *asked)) == pytest.approx(values)


def test_a_matrix_of_the_pairs_is_the_pairs(outputs, evaluate, values_of, scores):
    own = (outputs.image_ids[:, None] == outputs.text_image_ids).numpy()
    np.save(outputs.folder / "own.npy", own)
    protocol = ["--captions", outputs.captions, "--ranks", "--folds", "2", "--first_captions", "2", "--intervals"]
    plain = evaluate(scores, *protocol)["models"]["model"]
    given = evaluate(scores, *protocol, "--relevance", outputs.folder / "own.npy")["models"]["model"]
    assert {name: given[name] for name in plain} == plain


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda r: r.T,
            [],
            r"truth\.npy must be images x texts, \(12, 24\) as the arrays of model, got \(24, 12\): transp",
        ),
        (
            lambda r: r[1:],
            ["captions"],
            r"\(12, 24\) for captions.json, split test or \(21, \d+\) for the whole file, got",
        ),
        (
            lambda r: 2 * r,
            [],
            r"relevance must lie in \[0, 1\], but --relevance .*truth\.npy has values from 0.0 to 2.0",
        ),
        (lambda r: np.where(r > 0.9, np.nan, r), [], r"--relevance .*truth\.npy must be finite, but 1"),
        (
            lambda r: r / 2,
            [],
            r"truth\.npy must have values of at least --positive_threshold 1, .* the largest is 0\.5",
        ),
        (lambda r: r, ["--folds", "2"], "--folds must know which captions belong to an image: give --captions"),
        (lambda r: r, ["--positive_threshold", "0"], "--positive_threshold must lie above 0 and be at most 1, got 0"),
    ],
)
def test_wrong_matrices(outputs, evaluate, graded, scores, change, options, message):
    relevance, path = graded
    np.save(path, change(relevance))
    options = ["--captions", outputs.captions] if options == ["captions"] else options
    with pytest.raises(ValueError, match=message):
        evaluate(scores, "--relevance", path, *options)


def test_threshold_alone(outputs, evaluate):
    with pytest.raises(ValueError, match="--positive_threshold is about --relevance, which is not given"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--positive_threshold", "0.5")


def test_page_without_lists(outputs, evaluate, graded, scores):
    evaluate(scores, "--relevance", graded[1], "--html", outputs.folder / "page.html")
    page = (outputs.folder / "page.html").read_text()
    assert "the page has no curves and lists" in page
    assert "truth.npy" in page
    assert "<blockquote>" not in page
