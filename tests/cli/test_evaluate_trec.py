"""Runs and judgements that other programs read."""

import numpy as np
import pytest
import torch

from vse_lightning.metrics import RetrievalMetrics


def ranked_of(path):
    """Candidates of each query, the best first, as the format has it: by score, whatever the rank says."""
    found = {}
    for line in path.read_text().splitlines():
        query, zero, candidate, rank, score, tag = line.split()
        assert (zero, tag) == ("Q0", "model")
        found.setdefault(query, []).append((float(score), int(rank), candidate))
    for of_query in found.values():
        assert [rank for _, rank, _ in of_query] == list(range(1, len(of_query) + 1))
    return {query: [candidate for _, _, candidate in sorted(found[query], reverse=True)] for query in found}


def judged_of(path):
    relevant = {}
    for line in path.read_text().splitlines():
        query, zero, candidate, grade = line.split()
        assert (zero, grade) == ("0", "1")
        relevant.setdefault(query, set()).add(candidate)
    return relevant


@pytest.mark.parametrize("first_captions", [None, 1])
def test_written_runs_give_the_values_of_the_embeddings(outputs, evaluate, first_captions):
    folder = outputs.folder / "trec"
    protocol = [] if first_captions is None else ["--first_captions", "1"]
    evaluate(outputs.save(), "--captions", outputs.captions, "--write_trec", folder, *protocol)
    metrics = RetrievalMetrics(
        ndcg_ks=(), coherent_ks=(), average_precision=True, captions_per_image=first_captions, recall_ks=(1, 5)
    )
    images, texts = torch.from_numpy(outputs.images), torch.from_numpy(outputs.texts)
    metrics.update(images, texts, outputs.image_ids, outputs.text_image_ids, text_ids=outputs.text_ids)
    expected = metrics.compute()
    for direction in ("i2t", "t2i"):
        ranked, relevant = ranked_of(folder / f"model.{direction}.run"), judged_of(folder / f"{direction}.qrels")
        assert ranked.keys() == relevant.keys()
        for k in (1, 5):
            recall = np.mean([bool(relevant[query] & set(ranked[query][:k])) for query in ranked])
            assert recall == pytest.approx(float(expected[f"{direction}_recall_at_{k}"]), abs=1e-6)
        precision = [len(relevant[q] & set(ranked[q][: len(relevant[q])])) / len(relevant[q]) for q in ranked]
        assert np.mean(precision) == pytest.approx(float(expected[f"{direction}_r_precision"]), abs=1e-6)


def test_trec_depth(outputs, evaluate):
    folder = outputs.folder / "trec"
    evaluate(outputs.save(), "--captions", outputs.captions, "--write_trec", folder, "--trec_depth", "3")
    lines = (folder / "model.t2i.run").read_text().splitlines()
    assert len(lines) == 3 * len(outputs.text_ids)
    query, _, candidate, rank, score, tag = lines[0].split()
    assert (query, rank, tag) == (f"t{outputs.text_ids[0]}", "1", "model")
    assert float(score) == pytest.approx(outputs.scores[:, 0].max())
    assert candidate == f"i{outputs.image_ids[outputs.scores[:, 0].argmax()]}"


def test_values_are_those_of_trec_eval(outputs, evaluate, values_of):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    folder = outputs.folder / "trec"
    values = values_of(evaluate(outputs.save(), "--captions", outputs.captions, "--write_trec", folder))
    with (folder / "i2t.qrels").open() as judged, (folder / "model.i2t.run").open() as ranked:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(judged), {"success.5"})
        of_query = evaluator.evaluate(pytrec_eval.parse_run(ranked)).values()
    assert values["i2t_recall_at_5"] == pytest.approx(np.mean([found["success_5"] for found in of_query]))


def test_files_of_others_are_not_overwritten(outputs, evaluate):
    folder = outputs.folder / "trec"
    folder.mkdir()
    (folder / "i2t.qrels").write_text("of the user")
    with pytest.raises(ValueError, match=r"--write_trec: .*i2t\.qrels is there already: give another folder"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--write_trec", folder)
    assert [path.read_text() for path in folder.iterdir()] == ["of the user"]
