import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def expected(outputs):
    return pytest.approx({name: float(value) for name, value in outputs.metrics().compute().items()})


def _as_tensors(outputs):
    return {"image_embeds": torch.from_numpy(outputs.images), "text_embeds": torch.from_numpy(outputs.texts)}


def _npz(outputs):
    return outputs.save()


def _safetensors(outputs):
    save_file(_as_tensors(outputs), outputs.folder / "model.safetensors")
    return "model.safetensors"


def _pt(outputs):
    torch.save({**_as_tensors(outputs), "epoch": 3}, outputs.folder / "model.pt")
    return "model.pt"


def _two_files(outputs):
    np.save(outputs.folder / "i.npy", outputs.images)
    torch.save(torch.from_numpy(outputs.texts), outputs.folder / "t.pt")
    return "model=i.npy,t.pt"


def _mixed_precision(outputs):
    np.save(outputs.folder / "i.npy", outputs.images)
    np.save(outputs.folder / "t.npy", outputs.texts.astype("f4"))
    return "model=i.npy,t.npy"


def _scores(outputs):
    np.save(outputs.folder / "model.npy", outputs.scores)
    return "model.npy"


def _single_scores_by_name(outputs):
    save_file({"logits": torch.from_numpy(outputs.scores).float()}, outputs.folder / "model.safetensors")
    return "model.safetensors"


def _row_per_caption(outputs):
    rows = torch.searchsorted(outputs.image_ids, outputs.text_image_ids)
    np.savez(outputs.folder / "model.npz", image_embeds=outputs.images[rows], text_embeds=outputs.texts)
    return "model.npz"


def _whole_file(outputs):
    images = np.full((21, 6), 7.0)
    texts = np.full((len(outputs.texts_of_file), 6), 7.0)
    images[outputs.image_ids], texts[outputs.text_ids] = outputs.images, outputs.texts
    np.savez(outputs.folder / "model.npz", image_embeds=images, text_embeds=texts)
    return "model.npz"


@pytest.mark.parametrize(
    "make",
    [
        _npz,
        _safetensors,
        _pt,
        _two_files,
        _mixed_precision,
        _scores,
        _single_scores_by_name,
        _row_per_caption,
        _whole_file,
    ],
)
def test_every_format_gives_the_same_values(outputs, evaluate, values_of, expected, make, monkeypatch):
    monkeypatch.chdir(outputs.folder)
    results = evaluate(make(outputs), "--captions", "captions.json", "--scores_key", "logits")
    assert values_of(results) == expected


def test_scores_take_the_way_of_embeddings_through_protocols_and_labels(outputs, evaluate, values_of):
    pytest.importorskip("sklearn")
    np.save(outputs.folder / "scores.npy", outputs.scores)
    args = ["--captions", outputs.captions, "--labels", "cider", "--folds", "2", "--first_captions", "2"]
    results = evaluate(outputs.save(), outputs.folder / "scores.npy", *args)
    assert values_of(results, "scores") == pytest.approx(values_of(results, "model"))
    assert {result.get("p_value", 1) for result in results["models"]["scores"].values()} == {1}


@pytest.mark.parametrize("suffix", ["txt", "npy"])
def test_captions_as_lines_with_ids(outputs, evaluate, values_of, expected, suffix):
    pytest.importorskip("sklearn")
    lines = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    (outputs.folder / "caps.txt").write_text("\n".join(lines) + "\n")
    ids = outputs.text_image_ids.tolist()
    if suffix == "txt":
        (outputs.folder / "ids.txt").write_text("\n".join(f"image-{number}" for number in ids))
    else:
        np.save(outputs.folder / "ids.npy", np.array(ids))
    args = ["--captions", outputs.folder / "caps.txt", "--image_ids", outputs.folder / f"ids.{suffix}"]
    results = evaluate(outputs.save(), *args)
    assert values_of(results) == expected
    results = evaluate(outputs.save(), *args, "--labels", "cider")
    assert results["labels"][""].endswith("as there is no train split (24 captions)")


def test_captions_per_image_without_a_file(outputs, evaluate, values_of):
    np.savez(outputs.folder / "pairs.npz", image_embeds=outputs.images, text_embeds=outputs.images[:, ::-1])
    results = evaluate(outputs.folder / "pairs.npz", "--captions_per_image", "1")
    assert results["captions"] == "captions without text"
    assert 0 <= values_of(results, "pairs")["i2t_recall_at_1"] < 1


def _save(outputs, **arrays):
    np.savez(outputs.folder / "bad.npz", **arrays)
    return outputs.folder / "bad.npz"


@pytest.mark.parametrize(
    ("image_embeds", "text_embeds", "message"),
    [
        (lambda i, t: i, lambda i, t: t[1:], "row for each of the 24 captions of captions.json, split test"),
        (lambda i, t: i[1:], lambda i, t: t, "row for each of the 12 images of captions.json, split test"),
        (lambda i, t: t, lambda i, t: i, r"got 12: are images and texts swapped\?"),
        (lambda i, t: i[:, 1:], lambda i, t: t, "must be of one width, got 5 and 6"),
        (lambda i, t: i, lambda i, t: np.where(t > 2, np.nan, t), "text_embeds must be finite, but"),
        (
            lambda i, t: i.astype(int),
            lambda i, t: t,
            r"image_embeds must be a matrix of floats, got int64 \(12, 6\): .* save them as float32",
        ),
        (lambda i, t: i, lambda i, t: t[:, 0], r"text_embeds must be a matrix of floats, got float64 \(24,\)$"),
        (lambda i, t: t, lambda i, t: t, "those of one image must be equal, but row 2 differs"),
        (lambda i, t: i.astype(object), lambda i, t: t, r"'image_embeds' of .*bad\.npz holds Python objects"),
    ],
)
def test_wrong_arrays(outputs, evaluate, image_embeds, text_embeds, message):
    both = outputs.images, outputs.texts
    np.savez(outputs.folder / "bad.npz", image_embeds=image_embeds(*both), text_embeds=text_embeds(*both))
    with pytest.raises(ValueError, match=message):
        evaluate(outputs.folder / "bad.npz", "--captions", outputs.captions)


def test_missing_keys_name_those_that_there_are(outputs, evaluate):
    np.savez(outputs.folder / "keys.npz", img=outputs.images, txt=outputs.texts)
    names = "must hold 'scores', or 'image_embeds' and 'text_embeds', got 'img', 'txt': name them with --scores_key"
    with pytest.raises(ValueError, match=names):
        evaluate(outputs.folder / "keys.npz", "--captions", outputs.captions)
    with pytest.raises(ValueError, match="must hold 'image_embeds', got 'img', 'txt'"):
        evaluate(f"{outputs.folder / 'keys.npz'},{outputs.folder / 'keys.npz'}", "--captions", outputs.captions)


class _Evil:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("name", ["evil.pt", "evil.npy", "zip.npy", "broken.npz", "broken.safetensors", "model.pkl"])
def test_files_that_are_not_arrays(outputs, evaluate, capsys, name):
    path = outputs.folder / name
    if name == "evil.pt":
        torch.save(_Evil(), path)
    elif name == "evil.npy":
        np.save(path, np.array([_Evil()], dtype=object), allow_pickle=True)
    elif name == "zip.npy":
        with path.open("wb") as file:
            np.savez(file, scores=outputs.scores)
    else:
        path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=name) as error:
        evaluate(path, "--captions", outputs.captions)
    assert "unpickled" not in capsys.readouterr().out
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--split", "dev"], "--split must be one of .* in .*captions.json, got 'dev'"),
        (["--captions_per_image", "5"], r"leave out --captions_per_image .*\(--first_captions keeps only the first\)"),
        (["--labels", "word2vec"], "--labels must be sbert.*got 'word2vec'"),
        (["--labels", "cider", "--labels", "cider"], "--labels must differ, got cider, cider"),
        (["--labels", "lsa"], "n_components must be at most"),
        (["--folds", "5"], "folds must divide the number of images, got 5 folds of 12 images"),
        (["--folds", "2", "--write_trec", "trec"], "--write_trec writes one gallery: leave out --folds"),
        (["--intervals", "95"], "confidence must lie between 0 and 1, got 95.0"),
        (["--level", "0"], "level must lie between 0 and 1, got 0.0"),
        (["--recall_ks", "0"], "every entry of recall_ks must be a whole number of at least 1, got 0"),
        (["--eccv"], "update never saw"),
    ],
)
def test_wrong_options(outputs, evaluate, args, message):
    if args == ["--eccv"]:
        pytest.importorskip("eccv_caption")
    if args == ["--labels", "lsa"]:
        pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=message):
        evaluate(outputs.save(), "--captions", outputs.captions, *args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "a row for each of the 24 captions .*, got 23"),
        (("--folds", "5"), "folds must divide the number of images, got 5"),
        (("--eccv",), "--eccv needs a Karpathy JSON"),
    ],
    ids=["rows", "folds", "ids"],
)
def test_what_does_not_fit_is_told_before_labels_are_made(outputs, evaluate, monkeypatch, args, message):
    monkeypatch.setattr("vse_lightning.cli.evaluate.command.make_labels", lambda *_: pytest.fail("labels are made"))
    if not args:
        outputs.texts = outputs.texts[:-1]
    outputs.captions.write_text(outputs.captions.read_text().replace("cocoid", "number"))
    with pytest.raises(ValueError, match=message):
        evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "cider", *args)


def test_wrong_label_files(outputs, evaluate):
    path = outputs.folder / "labels.npy"
    np.save(path, np.ones((7, 3)))
    with pytest.raises(ValueError, match="a row for each of the 42 captions of the file or of the 24 evaluated, got 7"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--labels", path)
    np.save(path, np.full((24, 3), np.inf))
    with pytest.raises(ValueError, match="must be finite, but 24 of 24 rows"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--labels", path)


def test_wrong_caption_files(outputs, evaluate):
    pytest.importorskip("sklearn")
    model, text = outputs.save(), outputs.folder / "caps.txt"
    with pytest.raises(
        ValueError, match="told by --captions_per_image, by --image_ids, or by a Karpathy JSON or a table"
    ):
        evaluate(model)
    with pytest.raises(ValueError, match="--captions_per_image must divide the number of captions, got 5 for 24"):
        evaluate(model, "--captions_per_image", 5)
    with pytest.raises(ValueError, match="--split is for a Karpathy JSON"):
        evaluate(model, "--captions_per_image", 2, "--split", "test")
    with pytest.raises(ValueError, match="--labels cider needs the text of the captions"):
        evaluate(model, "--captions_per_image", 2, "--labels", "cider")
    text.write_text("a dog\n\na cat\n")
    with pytest.raises(ValueError, match=r"--captions must have a caption on each line, line 2 of .* is empty"):
        evaluate(model, "--captions", text, "--captions_per_image", 2)
    text.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="--captions must be a text file in UTF-8"):
        evaluate(model, "--captions", text, "--captions_per_image", 2)
    ids = outputs.folder / "ids.npy"
    np.save(ids, np.arange(3))
    with pytest.raises(ValueError, match="--image_ids must have an id for each of the 24 captions, got 3"):
        evaluate(model, "--image_ids", ids)
    np.save(ids, np.ones(24))
    with pytest.raises(ValueError, match="--image_ids must be integers or strings"):
        evaluate(model, "--image_ids", ids)
    broken = outputs.folder / "broken.json"
    broken.write_text(json.dumps({"images": [{"split": "test", "sentences": []}]}))
    with pytest.raises(ValueError, match=r"--captions: images\[0\] of .* must have at least one sentence, got none"):
        evaluate(model, "--captions", broken)
    broken.write_text(json.dumps({"images": [{"sentences": []}]}))
    with pytest.raises(ValueError, match=r"--captions: images\[0\] of .* lacks \['split'\], got \['sentences'\]"):
        evaluate(model, "--captions", broken)


def test_missing_files_and_names(outputs, evaluate):
    with pytest.raises(FileNotFoundError, match=r"model: nothing at .*modle.npz.*did you mean .*model.npz"):
        evaluate(outputs.save().replace("model.npz", "modle.npz"), "--captions", outputs.captions)
    with pytest.raises(ValueError, match="models must differ in name, got model, model: write NAME=FILE"):
        evaluate(outputs.save(), outputs.save(), "--captions", outputs.captions)
    with pytest.raises(ValueError, match="a model must be one file or IMAGES,TEXTS, got 3 files"):
        evaluate(",".join([outputs.save()] * 3), "--captions", outputs.captions)
