"""``evaluate --html``: the page of what was measured."""

import json
import re

import numpy as np
import pytest
import torch

from vse_lightning.pages import PAGE_MARK
from vse_lightning.relevance import CIDErRelevance


@pytest.fixture
def page_of(evaluate, tmp_path):
    """Run the command, give what it writes as JSON and the words of its page."""

    def made(*args):
        results = evaluate(*args, "--html", tmp_path / "page.html")
        html = (tmp_path / "page.html").read_text(encoding="utf-8")
        return results, " ".join(re.sub(r"<[^>]*>", " ", html[html.index("<body>") :]).split()), html

    return made


def test_values_intervals_and_stars_are_those_of_the_json(outputs, page_of):
    pytest.importorskip("sklearn")
    models = f"good={outputs.save('a.npz')}", f"bad={outputs.save('b.npz', noise=3.0)}"
    results, words, html = page_of(*models, "--captions", outputs.captions, "--labels", "cider", "--intervals")
    for model in results["models"].values():
        low, high = model["i2t_recall_at_5"]["interval"]
        value = f"{100 * model['i2t_recall_at_5']['value']:.1f} %"
        star = " *" if model["i2t_recall_at_5"].get("p_value", 1) < 0.05 else ""
        assert f"{value}{star} [{100 * low:.1f}, {100 * high:.1f}]" in words
        assert f"{model['t2i_ndcg_at_10']['value']:#.4g}" in words
    stars = [found["p_value"] < 0.05 for found in results["models"]["bad"].values() if "p_value" in found]
    assert html.count('class="star"') == sum(stars)
    assert any(stars)
    assert "*: differs from good" in words
    assert "captions.json, split test: 12 images" in words


def test_random_and_ideal_stand_beside_graded_values(outputs, page_of, capsys):
    pytest.importorskip("sklearn")
    results, words, html = page_of(
        outputs.save(), "--captions", outputs.captions, "--labels", "cider", "--labels", "lsa:3"
    )
    printed = " ".join(capsys.readouterr().out.split())
    collection = outputs.metrics(cider_table(outputs))
    expected = {kind: of_kind["i2t_ndcg_at_10"] for kind, of_kind in collection.baselines().items()}
    found = {kind: of_kind["i2t_ndcg_at_10"] for kind, of_kind in results["baselines"].items()}
    assert found == pytest.approx(expected)
    assert 0.1 < found["random"] < found["ideal"] == pytest.approx(1)
    value = results["models"]["model"]["i2t_ndcg_at_10"]["value"]
    assert f"NDCG@10 (CIDEr-D) {found['random']:#.4g} {value:#.4g} {found['ideal']:#.4g}" in words
    share = (value - found["random"]) / (found["ideal"] - found["random"])
    assert f"--r:{share:.3f}" in html
    assert "i2t_ndcg_at_10_lsa" in results["baselines"]["random"]
    assert not any("recall" in name or name == "rsum" for of_kind in results["baselines"].values() for name in of_kind)
    assert "random, ideal: what random scores" in printed


def test_without_labels_there_is_no_floor(outputs, evaluate, capsys):
    assert evaluate(outputs.save(), "--captions", outputs.captions)["baselines"] == {}
    assert "ideal" not in capsys.readouterr().out


def cider_table(outputs):
    """As the command fits it: on the train split."""
    images = json.loads(outputs.captions.read_text())["images"]
    train = [row for row, of in enumerate(outputs.image_of_text_of_file.tolist()) if images[of]["split"] == "train"]
    source = CIDErRelevance().fit([outputs.texts_of_file[row] for row in train], outputs.image_of_text_of_file[train])
    texts = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    return source.table(texts, outputs.text_image_ids, outputs.text_ids)


def test_curves_are_those_of_the_metrics(outputs, page_of):
    pytest.importorskip("sklearn")
    _, words, _ = page_of(outputs.save(), "--captions", outputs.captions, "--labels", "cider")
    assert "in meaning (CIDEr-D)" in words
    curves = outputs.metrics(cider_table(outputs)).relevance_by_rank(depth=5)
    for curve in curves.values():
        shown = (f"{float(curve.ideal[rank - 1]):.2f}" for rank in (1, 2, 5))
        assert f"ideal {' '.join(shown)}" in words
        shown = (f"{float(curve.relevance[rank - 1]):.2f}" for rank in (1, 2, 5))
        assert f"retrieved {' '.join(shown)}" in words


@pytest.mark.parametrize("scores", [False, True])
def test_hardest_are_the_captions_whose_image_comes_last(outputs, page_of, scores):
    np.save(outputs.folder / "scores.npy", outputs.scores)
    model = outputs.folder / "scores.npy" if scores else outputs.save()
    _, words, html = page_of(model, "--captions", outputs.captions)
    own = torch.searchsorted(outputs.image_ids, outputs.text_image_ids)
    ranks = [1 + int((column > column[row]).sum()) for column, row in zip(outputs.scores.T, own.tolist(), strict=True)]
    (first, *others) = re.findall(r"<blockquote>(.*?)</blockquote>", html)
    assert len(others) == 4
    texts = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    assert max(ranks) in [rank for rank, text in zip(ranks, texts, strict=True) if text == first]
    assert f"match rank {max(ranks)} " in words
    assert "1 for a match, 0 for all others" in words  # without --labels


def test_a_gallery_without_captions_is_numbered(outputs, page_of):
    np.savez(outputs.folder / "runs.npz", image_embeds=outputs.images, text_embeds=np.repeat(outputs.images, 2, axis=0))
    _, words, html = page_of(outputs.folder / "runs.npz", "--captions_per_image", "2", "--folds", "3")
    assert re.search(r"<blockquote>text \d+</blockquote>", html)
    assert "mean over 3 folds" in words
    assert "curves and lists rank all images and captions" in words


def test_replaces_its_own_pages_only(outputs, page_of, tmp_path):
    asked = outputs.save(), "--captions", outputs.captions
    page_of(*asked)
    _, _, html = page_of(*asked)
    assert PAGE_MARK in html
    (tmp_path / "page.html").write_text("of the user")
    with pytest.raises(ValueError, match=r"--html: .*page\.html is there already, and not of this command"):
        page_of(*asked)
    assert (tmp_path / "page.html").read_text() == "of the user"


def test_the_folder_of_the_page_must_be_there(outputs, evaluate, tmp_path):
    with pytest.raises(ValueError, match="--html must be in a folder that exists"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--html", tmp_path / "no" / "page.html")
