"""``evaluate --judgements``: agreement of models and labels with the ratings of people."""

import csv
import json

import numpy as np
import pytest
import torch

from vse_lightning.relevance import CIDErRelevance

stats = pytest.importorskip("scipy.stats")


@pytest.fixture
def rated(outputs):
    """Images, texts and ratings, several of a pair, and the first pairs of an image and its own caption."""
    draw = np.random.default_rng(5)
    images, texts = draw.integers(0, 12, 60), draw.integers(0, 24, 60)
    own = torch.searchsorted(outputs.image_ids, outputs.text_image_ids).numpy()
    images[:6] = own[texts[:6]]
    images, texts = np.concatenate([images, images]), np.concatenate([texts, texts])
    return images, texts, draw.integers(1, 5, 120), own[texts] == images


@pytest.fixture
def write(outputs):
    def written(name="people.csv", **columns):
        with (outputs.folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
        return outputs.folder / name

    return written


def cider(outputs):
    images = json.loads(outputs.captions.read_text())["images"]
    of_text = outputs.image_of_text_of_file
    train = [row for row, image in enumerate(of_text.tolist()) if images[image]["split"] == "train"]
    source = CIDErRelevance().fit([outputs.texts_of_file[row] for row in train], of_text[train])
    texts = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    table = source.table(texts, outputs.text_image_ids, outputs.text_ids)
    return table.block(outputs.image_ids, outputs.text_ids).numpy()


def correlations(values, ratings):
    return {
        "kendall_b": stats.kendalltau(values, ratings)[0],
        "kendall_c": stats.kendalltau(values, ratings, variant="c")[0],
        "spearman": stats.spearmanr(values, ratings)[0],
    }


def without_interval(found):
    return pytest.approx({name: value for name, value in found.items() if isinstance(value, float)}, abs=1e-6)


def test_agreement_of_models_and_labels(outputs, evaluate, rated, write, capsys):
    images, texts, ratings, own = rated
    path = write(image=images, text=texts, rating=ratings)
    found = evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "cider", "--judgements", path)
    expected = {"model": outputs.scores[images, texts], "cider": np.where(own, 1, cider(outputs)[images, texts])}
    assert found["agreement"].keys() == expected.keys()
    for name, values in expected.items():
        of = found["agreement"][name]
        assert correlations(values, ratings) == without_interval(of)
        assert correlations(values[~own], ratings[~own]) == without_interval(of["without_own_captions"])
        assert of["interval"][0] < of["kendall_c"] < of["interval"][1]
    assert (found["ratings"], found["ratings_of_own_captions"]) == (120, own.sum())
    tau = found["agreement"]["cider"]["kendall_c"]
    assert f"agreement of cider with people: tau-c {tau:.3f}" in capsys.readouterr().out


def test_the_interval_is_that_of_drawn_images(outputs, evaluate, rated, write):
    images, texts, ratings, _ = rated
    path = write(image=images, text=texts, rating=ratings)
    found = evaluate(outputs.save(), "--captions", outputs.captions, "--judgements", path, "--intervals", "0.9")
    values, known = outputs.scores[images, texts], np.unique(images)
    place = np.searchsorted(known, images)
    draws = np.random.default_rng(0).multinomial(len(known), np.full(len(known), 1 / len(known)), 200)
    rows = [np.repeat(np.arange(len(images)), times[place]) for times in draws]
    taus = [stats.kendalltau(values[drawn], ratings[drawn], variant="c")[0] for drawn in rows]
    assert found["agreement"]["model"]["interval"] == pytest.approx(np.quantile(taus, [0.05, 0.95]), abs=1e-6)


def test_names_and_ids_are_those_of_the_file(outputs, evaluate, rated, write):
    images, texts, ratings, _ = rated
    content = json.loads(outputs.captions.read_text())
    for number, image in enumerate(content["images"]):
        image["imgid"] = 500 + number
    outputs.captions.write_text(json.dumps(content))
    rows, sentids = outputs.image_ids.numpy()[images], 1000 + outputs.text_ids.numpy()[texts]
    by_row = write(image=images, text=texts, rating=ratings)
    by_name = write("names.csv", rating=ratings, image=[f"{row}.jpg" for row in rows], sentid=sentids)
    by_id = write("ids.csv", imgid=500 + rows, sentid=sentids, rating=ratings)
    found = [
        evaluate(outputs.save(), "--captions", outputs.captions, "--judgements", path)
        for path in (by_row, by_name, by_id)
    ]
    assert found[0]["agreement"] == found[1]["agreement"] == found[2]["agreement"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": [0], "rating": [1]},
            "--judgements must have one of the columns text and sentid, .*has image, rating",
        ),
        (
            {"image": [0, 12], "text": [0, 0], "rating": [1, 2]},
            "image of the images .* split test, .* got '12' in line 3",
        ),
        (
            {"image": ["x.jpg"], "text": [0], "rating": [1]},
            "image of the images .*, got 'x.jpg' in line 2 of people.csv",
        ),
        ({"image": [0], "sentid": [7], "rating": [1]}, "sentid of the images and texts .* got '7' in line 2"),
        ({"imgid": [0], "text": [0], "rating": [1]}, "tells images or texts by imgid, which captions.json.* not have"),
        (
            {"image": [0], "text": [0], "rating": ["good"]},
            "finite numbers as rating, got 'good' in line 2 of people.csv",
        ),
        ({"image": [0], "text": [0]}, "must have a column rating, .*people.csv has image, text"),
        ({"image": [0], "text": [0], "rating": [1]}, "--judgements must have at least two ratings, .*people.csv has 1"),
    ],
)
def test_wrong_tables(outputs, evaluate, write, columns, message):
    with pytest.raises(ValueError, match=message):
        evaluate(outputs.save(), "--captions", outputs.captions, "--judgements", write(**columns))
