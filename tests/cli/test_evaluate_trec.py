import numpy as np
import pytest
import torch

from vse_lightning.metrics import RetrievalMetrics


def _write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def run(tmp_path):
    """Query 1: d3 d1 d2; query 2: d9 d2, and d1 relevant but not retrieved; query 3 not in the run."""
    lines = ["1 Q0 d1 9 0.5 me", "1 Q0 d2 9 0.25 me", "1 Q0 d3 9 0.75 me", "2 Q0 d2 1 -3 me", "2 Q0 d9 2 1e1 me"]
    return _write(tmp_path / "me.run", lines)


@pytest.fixture
def judgements(tmp_path):
    return _write(tmp_path / "qrels", ["1 0 d1 2", "1 0 d2 1", "1 0 d7 -1", "2 0 d2 1", "2 0 d1 1", "3 0 d1 1"])


def test_values_by_hand(run, judgements, evaluate, values_of):
    values = values_of(evaluate(run, "--qrels", judgements, "--recall-ks", "1,2", "--ndcg-ks", "2"), "me")
    ideals = [2 + 1 / np.log2(3), 1 + 1 / np.log2(3)]
    assert values == pytest.approx(
        {
            "recall_at_1": 0,
            "recall_at_2": 2 / 3,
            "recall_of_all_at_1": 0,
            "recall_of_all_at_2": (1 / 2 + 1 / 2) / 3,
            "map_at_r": (1 / 4 + 1 / 4) / 3,
            "r_precision": (1 / 2 + 1 / 2) / 3,
            "ndcg_at_2": (2 / np.log2(3) / ideals[0] + 1 / np.log2(3) / ideals[1]) / 3,
        }
    )


def test_what_was_not_retrieved_ranks_nowhere(tmp_path, evaluate, values_of):
    run = _write(tmp_path / "short.run", ["1 Q0 x 1 0.5 me"])
    judgements = _write(tmp_path / "qrels", [f"1 0 d{number} 1" for number in range(9)])
    values = values_of(evaluate(run, "--qrels", judgements, "--recall-ks", "1,100", "--ndcg-ks", "5"), "short")
    assert set(values.values()) == {0}


def test_ties_do_not_help(tmp_path, evaluate, values_of):
    run = _write(tmp_path / "tied.run", ["1 Q0 a 1 1 me", "1 Q0 b 2 1 me", "1 Q0 c 3 0 me"])
    judgements = _write(tmp_path / "qrels", ["1 0 a 1"])
    values = values_of(evaluate(run, "--qrels", judgements, "--recall-ks", "1,2", "--ndcg-ks", "2"), "tied")
    assert (values["recall_at_1"], values["recall_at_2"]) == (0, 1)
    assert values["ndcg_at_2"] == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_ndcg_of_random_runs_is_that_of_scikit_learn(tmp_path, evaluate, values_of):
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    draw = np.random.default_rng(0)
    scores, grades = draw.normal(size=(40, 15)), draw.integers(0, 4, size=(40, 15))
    pairs = [(query, candidate) for query in range(40) for candidate in range(15)]
    run = _write(tmp_path / "all.run", [f"{q} Q0 {c} 0 {scores[q, c]} me" for q, c in pairs])
    judgements = _write(tmp_path / "qrels", [f"{q} 0 {c} {grades[q, c]}" for q, c in pairs])
    values = values_of(evaluate(run, "--qrels", judgements, "--ndcg-ks", "3,99"), "all")
    for k in (3, 99):
        assert values[f"ndcg_at_{k}"] == pytest.approx(ndcg_score(grades, scores, k=k))


def test_models_side_by_side(tmp_path, run, judgements, evaluate, capsys):
    better = _write(tmp_path / "better.run", ["1 Q0 d1 1 1 b", "2 Q0 d1 1 1 b", "3 Q0 d1 1 1 b"])
    results = evaluate(run, f"new={better}", "--qrels", judgements, "--intervals")["models"]
    assert results["new"]["recall_at_1"]["value"] == 1
    assert results["new"]["recall_at_1"]["p_value"] == pytest.approx(2 / 2**3, abs=0.1)
    assert results["me"]["recall_at_1"]["interval"] == [0, 0]
    assert "qrels: 3 queries" in capsys.readouterr().out


@pytest.mark.parametrize("first_captions", [None, 1])
def test_written_runs_give_the_values_of_the_embeddings(outputs, evaluate, values_of, first_captions):
    folder = outputs.folder / "trec"
    protocol = [] if first_captions is None else ["--first-captions", "1"]
    evaluate(outputs.save(), "--captions", outputs.captions, "--write-trec", folder, *protocol)
    metrics = RetrievalMetrics(
        ndcg_ks=(), coherent_ks=(), average_precision=True, captions_per_image=first_captions, recall_ks=(1, 5)
    )
    images, texts = torch.from_numpy(outputs.images), torch.from_numpy(outputs.texts)
    metrics.update(images, texts, outputs.image_ids, outputs.text_image_ids, text_ids=outputs.text_ids)
    expected = metrics.compute()
    for direction in ("i2t", "t2i"):
        qrels = folder / f"{direction}.qrels"
        values = values_of(evaluate(f"m={folder}/model.{direction}.run", "--qrels", qrels, "--recall-ks", "1,5"), "m")
        for name in ("recall_at_1", "recall_at_5", "map_at_r", "r_precision"):
            assert values[name] == pytest.approx(float(expected[f"{direction}_{name}"]), abs=1e-6)


def test_trec_depth(outputs, evaluate):
    folder = outputs.folder / "trec"
    evaluate(outputs.save(), "--captions", outputs.captions, "--write-trec", folder, "--trec-depth", "3")
    lines = (folder / "model.t2i.run").read_text().splitlines()
    assert len(lines) == 3 * len(outputs.text_ids)
    query, _, candidate, rank, score, tag = lines[0].split()
    assert (query, rank, tag) == (f"t{outputs.text_ids[0]}", "1", "model")
    assert float(score) == pytest.approx(outputs.scores[:, 0].max())
    assert candidate == f"i{outputs.image_ids[outputs.scores[:, 0].argmax()]}"


def test_values_are_those_of_trec_eval(outputs, evaluate, values_of):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    folder = outputs.folder / "trec"
    evaluate(outputs.save(), "--captions", outputs.captions, "--write-trec", folder, "--trec-depth", "7")
    run, qrels = folder / "model.i2t.run", folder / "i2t.qrels"
    values = values_of(evaluate(run, "--qrels", qrels, "--recall-ks", "1,5", "--ndcg-ks", "5"), "model.i2t")
    names = {
        "success_5": "recall_at_5",
        "recall_5": "recall_of_all_at_5",
        "Rprec": "r_precision",
        "ndcg_cut_5": "ndcg_at_5",
    }
    with qrels.open() as judged, run.open() as ranked:
        evaluator = pytrec_eval.RelevanceEvaluator(
            pytrec_eval.parse_qrel(judged), {"success.5", "recall.5", "Rprec", "ndcg_cut.5"}
        )
        of_query = evaluator.evaluate(pytrec_eval.parse_run(ranked)).values()
    for theirs, ours in names.items():
        assert values[ours] == pytest.approx(np.mean([found[theirs] for found in of_query]))


@pytest.mark.parametrize(
    ("run_line", "judgement", "message"),
    [
        (
            "1 Q0 d1 1 0.5",
            "1 0 d1 1",
            r"must have lines 'query Q0 candidate rank score tag', got '1 Q0 d1 1 0.5' in line 1",
        ),
        ("1 Q0 d1 1 high me", "1 0 d1 1", "must have a number in column 5, got 'high' in line 1"),
        ("1 Q0 d1 1 nan me", "1 0 d1 1", "must have a number in column 5, got 'nan' in line 1"),
        ("1 Q0 d1 1 0.5 me\n1 Q0 d1 2 0.4 me", "1 0 d1 1", "names d1 twice for query 1, in line 2"),
        ("1 Q0 d1 1 0.5 me", "1 d1 1", "must have lines 'query 0 candidate grade', got '1 d1 1'"),
    ],
)
def test_wrong_lines(tmp_path, evaluate, run_line, judgement, message):
    run, judgements = _write(tmp_path / "bad.run", [run_line]), _write(tmp_path / "bad.qrels", [judgement])
    with pytest.raises(ValueError, match=message):
        evaluate(run, "--qrels", judgements)


def test_options_that_do_not_fit_runs(run, judgements, evaluate):
    with pytest.raises(ValueError, match="--qrels evaluates runs as they are, without --captions, --labels"):
        evaluate(run, "--qrels", judgements, "--captions", "c.json", "--labels", "cider")
    with pytest.raises(ValueError, match="a run must be one file"):
        evaluate(f"{run},{run}", "--qrels", judgements)


def test_files_of_others_are_not_overwritten(outputs, evaluate):
    folder = outputs.folder / "trec"
    folder.mkdir()
    (folder / "i2t.qrels").write_text("of the user")
    with pytest.raises(ValueError, match=r"--write-trec: .*i2t\.qrels is there already: give another folder"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--write-trec", folder)
    assert [path.read_text() for path in folder.iterdir()] == ["of the user"]
