import json
from functools import partial

import numpy as np
import pytest
import torch

from vse_lightning.functional import bootstrap_interval, paired_randomization_test
from vse_lightning.metrics import PMRP, RecallAtK, RSum
from vse_lightning.relevance import CIDErRelevance, FeatureTable, LSARelevance


def test_values_are_those_of_the_metrics(outputs, evaluate, values_of):
    results = evaluate(outputs.save(), "--captions", outputs.captions)
    assert values_of(results) == pytest.approx({k: float(v) for k, v in outputs.metrics().compute().items()})
    assert results["captions"] == "captions.json, split test"
    assert (results["images"], results["texts"], results["labels"]) == (12, len(outputs.text_ids), {})


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["--folds", "3"], {"folds": 3}),
        (["--first_captions", "1"], {"captions_per_image": 1}),
        (["--recall_ks", "2,3"], {"recall_ks": (2, 3)}),
        (["--ranks"], {"rank_statistics": True}),
    ],
)
def test_protocols(outputs, evaluate, values_of, args, options):
    results = evaluate(outputs.save(), "--captions", outputs.captions, *args)
    assert values_of(results) == pytest.approx({k: float(v) for k, v in outputs.metrics(**options).compute().items()})


@pytest.mark.parametrize(("name", "make"), [("cider", CIDErRelevance), ("lsa:3", partial(LSARelevance, 3))])
@pytest.mark.parametrize("first_captions", [None, 1])
def test_labels_are_fitted_on_the_train_split(outputs, evaluate, values_of, name, make, first_captions):
    pytest.importorskip("sklearn")
    protocol = [] if first_captions is None else ["--first_captions", "1"]
    args = ["--captions", outputs.captions, "--labels", name, "--ndcg_ks", "3", "--coherent_ks", "5"]
    results = evaluate(outputs.save(), *args, *protocol)
    splits = [image["split"] for image in json.loads(outputs.captions.read_text())["images"]]
    train = [row for row, image in enumerate(outputs.image_of_text_of_file.tolist()) if splits[image] == "train"]
    source = make().fit([outputs.texts_of_file[row] for row in train], outputs.image_of_text_of_file[train])
    texts = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    table = source.table(texts, outputs.text_image_ids, outputs.text_ids)
    expected = outputs.metrics(table, ndcg_ks=(3,), coherent_ks=(5,), captions_per_image=first_captions).compute()
    assert values_of(results) == pytest.approx({k: float(v) for k, v in expected.items()}, abs=1e-6)
    assert results["labels"] == {"": f"{source.name}, fitted on the train split ({len(train)} captions)"}


def test_pmrp(outputs, evaluate, values_of, capsys):
    annotations = outputs.folder / "instances.json"
    of_image = {100 + image: [image % 3] for image in outputs.image_ids.tolist()}
    of_image[100 + int(outputs.image_ids[1])] = []
    annotations.write_text(json.dumps(of_image))
    args = ["--captions", outputs.captions, "--pmrp", annotations, "--intervals"]
    values = values_of(evaluate(outputs.save(), *args))
    metric = PMRP(annotations)
    embeds = torch.from_numpy(outputs.images), torch.from_numpy(outputs.texts)
    metric.update(*embeds, outputs.image_ids + 100, outputs.text_image_ids + 100, text_ids=outputs.text_ids)
    for name, value in metric.compute().items():
        assert values[name] == pytest.approx(float(value))
    assert "PMRP" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--pmrp", outputs.folder / "nothing.json")


def test_further_labels_get_a_suffix(outputs, evaluate, values_of):
    pytest.importorskip("sklearn")
    features = np.random.default_rng(1).normal(size=(len(outputs.texts_of_file), 4)).astype("f4")
    np.save(outputs.folder / "clip.npy", features)
    np.save(outputs.folder / "test.npy", features[outputs.text_ids])
    args = ["--captions", outputs.captions, "--labels", "cider"]
    for name in ("clip", "test"):
        args += ["--labels", outputs.folder / f"{name}.npy"]
    values = values_of(evaluate(outputs.save(), *args))
    table = FeatureTable(torch.from_numpy(features), outputs.image_of_text_of_file, label="by hand")
    expected = outputs.metrics(table).compute()
    for name in ("i2t_ndcg_at_10", "t2i_ndcg_at_10", "i2t_coherent_score_at_100", "t2i_coherent_score_at_100"):
        assert values[name] != pytest.approx(float(expected[name]))
        assert values[f"{name}_clip"] == values[f"{name}_test"] == pytest.approx(float(expected[name]), abs=1e-6)
    assert sum("recall" in name for name in values) == 6


def test_intervals_and_p_values_are_those_of_the_functions(outputs, evaluate):
    models = outputs.save(), outputs.save("other.npz", noise=1.0)
    results = evaluate(*models, "--captions", outputs.captions, "--intervals", "0.9", "--seed", "3")
    first, second = results["models"]["model"], results["models"]["other"]
    assert "p_value" not in first["rsum"]
    draws = {"resamples": 200, "seed": 3}
    images = {"i2t": outputs.image_ids, "t2i": outputs.text_image_ids}
    for metric in (RecallAtK(1, "t2i"), RSum()):
        values = []
        for path in models:
            metric.reset()
            with np.load(path) as arrays:
                image_embeds, text_embeds = (torch.from_numpy(arrays[f"{side}_embeds"]) for side in ("image", "text"))
            ids = outputs.image_ids, outputs.text_image_ids
            metric.update(image_embeds, text_embeds, *ids, text_ids=outputs.text_ids)
            values.append(metric.per_query())
        groups = {direction: images[direction] for direction in metric.directions}
        expected = bootstrap_interval(values[0], groups, confidence=0.9, **draws)
        assert first[metric.name]["interval"] == pytest.approx(list(expected))
        assert second[metric.name]["p_value"] == paired_randomization_test(*values, groups, **draws)


def test_folds_keep_queries_with_their_images(outputs, evaluate):
    results = evaluate(outputs.save(), "--captions", outputs.captions, "--intervals", "--folds", 12)
    of_folds = results["models"]["model"]
    assert of_folds["i2t_recall_at_1"] == {"value": 1, "interval": [1, 1]}  # a gallery of one image
    assert of_folds["rsum"] == {"value": 600, "interval": [600, 600]}


def test_median_rank_is_no_mean(outputs, evaluate):
    models = outputs.save(), outputs.save("b.npz", 0.5)
    results = evaluate(*models, "--captions", outputs.captions, "--intervals", "--ranks")["models"]["b"]
    assert results["i2t_median_rank"].keys() == {"value"}
    assert results["i2t_mean_rank"].keys() == {"value", "interval", "p_value"}


def test_table(outputs, evaluate, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("COLUMNS", "200")
    worse = outputs.save("worse.npz", noise=9.0)
    args = ["--captions", outputs.captions, "--intervals", "--labels", "cider", "--labels", "lsa:3", "--level", "0.06"]
    results = evaluate(outputs.save(), worse, *args)
    out = capsys.readouterr().out
    recall = results["models"]["model"]["i2t_recall_at_5"]
    assert f"{100 * recall['value']:.1f} % [{100 * recall['interval'][0]:.1f}, " in out
    for shown in ("image → text", "text → image", "NDCG@10 (CIDEr-D)", "CS@100 (LSA-3)", "rsum", " *"):
        assert shown in out
    assert "captions.json, split test: 12 images" in out
    assert "labels: LSA-3, fitted on the train split" in out
    assert "[low, high]: 95 % bootstrap interval, 200 resamples, seed 0" in out
    assert "*: differs from model, p < 0.06 in a paired randomisation test" in out


def test_without_labels_it_says_that_only_recalls_are_left(outputs, evaluate, capsys):
    evaluate(outputs.save(), "--captions", outputs.captions)
    out = capsys.readouterr().out
    assert "recalls only: NDCG and Coherent Score need graded labels, such as --labels sbert" in out
    assert "*" not in out


def test_help_states_definitions_and_tie_rules(capsys):
    from vse_lightning.cli import main

    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    out = capsys.readouterr().out
    for part in (
        "a tie never helps",
        "Tied candidates share their gains",
        "that tie across the cut the first are taken",
    ):
        assert part in out


def test_the_command_finds_it(outputs):
    from vse_lightning.cli import main

    with pytest.raises(FileNotFoundError, match=r"--captions: nothing at 'none.json'"):
        main(["evaluate", outputs.save(), "--captions", "none.json"])


def test_only_its_own_output_is_overwritten(outputs, tmp_path):
    from vse_lightning.cli import main

    args = ["evaluate", outputs.save(), "--captions", str(outputs.captions), "--output"]
    main([*args, str(tmp_path / "own.json")])
    main([*args, str(tmp_path / "own.json")])
    with pytest.raises(ValueError, match=r"--output: .*captions\.json is there already, and not of this command"):
        main([*args, str(outputs.captions)])
    assert "images" in outputs.captions.read_text()
    with pytest.raises(ValueError, match="--output must be a file, got the folder"):
        main([*args, str(tmp_path)])
