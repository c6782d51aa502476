"""Files as people have them: the same numbers from each, or one message that says what to save instead."""

import json

import numpy as np
import pytest
import torch


@pytest.fixture
def expected(outputs):
    return pytest.approx({name: float(value) for name, value in outputs.metrics().compute().items()})


def bfloat16(array):
    """As ml_dtypes writes it, rounded."""
    return torch.from_numpy(array).bfloat16().view(torch.int16).numpy().view("V2")


def save(outputs, images, texts):
    np.save(outputs.folder / "i.npy", images)
    np.save(outputs.folder / "t.npy", texts)
    return f"model={outputs.folder / 'i.npy'},{outputs.folder / 't.npy'}"


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array.astype(">f8"),
        lambda array: array.astype(">f4"),
        np.asfortranarray,
        lambda array: array.astype(np.longdouble),
        lambda array: array * 1e200,
        lambda array: array * 1e-200,
        lambda array: (array * 1e30).astype(np.float32),
        lambda array: (array * 1e-30).astype(np.float32),
    ],
)
def test_embeddings_of_every_type_and_length(outputs, evaluate, values_of, expected, convert):
    model = save(outputs, convert(outputs.images), convert(outputs.texts))
    assert values_of(evaluate(model, "--captions", outputs.captions)) == expected


def test_bfloat16_and_large_float16_are_their_values(outputs, evaluate, values_of):
    for convert in (bfloat16, lambda array: (array * 10000).astype(np.float16)):
        images, texts = convert(outputs.images), convert(outputs.texts)
        widened = [
            (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32) if array.dtype == "V2" else array / 100.0
            for array in (images, texts)
        ]
        found = values_of(evaluate(save(outputs, images, texts), "--captions", outputs.captions))
        assert found == values_of(evaluate(save(outputs, *widened), "--captions", outputs.captions))


def test_lists_of_tensors(outputs, evaluate, values_of, expected):
    images, texts = torch.from_numpy(outputs.images), torch.from_numpy(outputs.texts)
    torch.save({"image_embeds": list(images), "text_embeds": list(texts.split(5))}, outputs.folder / "model.pt")
    assert values_of(evaluate(outputs.folder / "model.pt", "--captions", outputs.captions)) == expected
    torch.save(list(images), outputs.folder / "i.pt")
    torch.save(texts, outputs.folder / "t.pt")
    model = f"model={outputs.folder / 'i.pt'},{outputs.folder / 't.pt'}"
    assert values_of(evaluate(model, "--captions", outputs.captions)) == expected


def test_a_list_of_two_matrices_is_not_taken_for_scores(outputs, evaluate):
    torch.save([torch.from_numpy(outputs.images), torch.from_numpy(outputs.texts)], outputs.folder / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt must hold 'scores', or 'image_embeds' and .*, got 'a list'"):
        evaluate(outputs.folder / "model.pt", "--captions", outputs.captions)


@pytest.mark.parametrize("convert", [lambda scores: np.round(scores * 1000).astype(np.int32), bfloat16])
def test_scores_of_other_types(outputs, evaluate, values_of, convert):
    scores = convert(outputs.scores)
    np.save(outputs.folder / "model.npy", scores)
    plain = scores if scores.dtype == np.int32 else (scores.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.save(outputs.folder / "plain.npy", plain.astype(np.float64))
    results = evaluate(outputs.folder / "model.npy", outputs.folder / "plain.npy", "--captions", outputs.captions)
    assert values_of(results, "model") == pytest.approx(values_of(results, "plain"))


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (
            lambda array: array[:, None],
            r"got float64 \(12, 1, 6\): pool the regions, tokens or views of each to one vec",
        ),
        (
            lambda array: np.round(array * 40).astype(np.int8),
            r"got int8 \(12, 6\): these may be quantised values or pack",
        ),
        (lambda array: array > 0, r"got bool \(12, 6\): these may be quantised values or packed bits"),
        (lambda array: array.astype(complex), r"got complex128 \(12, 6\)$"),
        (lambda array: array[:0], r"image_embeds must be a matrix of floats, got float64 \(0, 6\)$"),
        (lambda array: np.where(array > 1, np.inf, array).astype(np.float16), "image_embeds must be finite, but"),
        (lambda array: array.astype(str), r"i\.npy must hold numbers, got <U\d+: save it as float32"),
    ],
)
def test_embeddings_that_are_none(outputs, evaluate, convert, message):
    with pytest.raises(ValueError, match=message):
        evaluate(save(outputs, convert(outputs.images), outputs.texts), "--captions", outputs.captions)


def test_rows_of_zeros_are_told(outputs, evaluate):
    outputs.texts[[2, 5]] = 0
    with pytest.warns(UserWarning, match=r"model .*: text_embeds: 2 of 24 rows are all zeros, the first of them row 2"):
        evaluate(save(outputs, outputs.images, outputs.texts), "--captions", outputs.captions)


def test_a_dictionary_of_vectors_is_not_listed_whole(outputs, evaluate):
    torch.save({f"{row}.jpg": torch.ones(6) for row in range(5000)}, outputs.folder / "model.pt")
    with pytest.raises(ValueError, match=r"got '0.jpg', .*'7.jpg' and 4992 more: name them with"):
        evaluate(outputs.folder / "model.pt", "--captions", outputs.captions)


@pytest.mark.parametrize(
    "ids",
    [
        lambda ids: np.array([f"{number}.jpg" for number in ids]),
        lambda ids: np.array([f"{number}.jpg" for number in ids], "S"),
        lambda ids: np.array(ids, ">i4"),
        lambda ids: [f"{number}.jpg" for number in ids],
        lambda ids: list(ids),
    ],
)
def test_image_ids_of_every_kind(outputs, evaluate, values_of, expected, ids):
    made = ids(outputs.text_image_ids.tolist())
    path = outputs.folder / ("ids.npy" if isinstance(made, np.ndarray) else "ids.json")
    np.save(path, made) if isinstance(made, np.ndarray) else path.write_text(json.dumps(made))
    assert values_of(evaluate(outputs.save(), "--image_ids", path)) == expected


def test_image_ids_as_lines_of_windows(outputs, evaluate, values_of, expected):
    lines = "\r\n".join(f"{number}.jpg" for number in outputs.text_image_ids.tolist())
    (outputs.folder / "ids.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert values_of(evaluate(outputs.save(), "--image_ids", outputs.folder / "ids.txt")) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.json", '{"a": 1}', "--image_ids must be a list in JSON, got dict in"),
        ("ids.json", '["a", 1]', "--image_ids must be all integers or all strings, got int and str in"),
        ("ids.json", "[]", "--image_ids must be all integers or all strings, got nothing in"),
        ("ids.json", '["a", ""]', "--image_ids must have an id for each caption, that of row 1 of .* is empty"),
        ("ids.txt", "a\n\nb\n", "--image_ids must have an id for each caption, that of row 1 of .* is empty"),
        (
            "ids.npy",
            np.zeros((24, 1), int),
            r"--image_ids must be integers or strings \(captions,\), got int64 \(24, 1\)",
        ),
        ("ids.npy", np.array(["a", None], object), "ids.npy holds Python objects"),
    ],
)
def test_wrong_image_ids(outputs, evaluate, name, content, message):
    path = outputs.folder / name
    path.write_text(content) if isinstance(content, str) else np.save(path, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        evaluate(outputs.save(), "--image_ids", path)


def _rows(outputs):
    texts = [outputs.texts_of_file[row] for row in outputs.text_ids.tolist()]
    return list(zip([f"{number}.jpg" for number in outputs.text_image_ids.tolist()], texts, strict=True))


def _csv(outputs):
    return "image,caption\n" + "".join(f'{image},"{text}"\n' for image, text in _rows(outputs))


def _pipes(outputs):
    return "image_name| comment_number| comment\n" + "".join(f"{image}| 0| {text}\n" for image, text in _rows(outputs))


def _tabs(outputs):
    return "file_name\ttext\n" + "".join(f"{image}\t{text}\n" for image, text in _rows(outputs))


def _numbered(outputs):
    return "".join(f"{image}#{number}\t{text}\n" for number, (image, text) in enumerate(_rows(outputs)))


def _json_lines(outputs):
    return "".join(json.dumps({"image": image, "caption": text}) + "\n" for image, text in _rows(outputs))


def _lists(outputs):
    captions = {}
    for image, text in _rows(outputs):
        captions.setdefault(image, []).append(text)
    return json.dumps([{"image": image, "caption": texts} for image, texts in captions.items()])


def _coco(outputs):
    rows = zip(outputs.text_image_ids.tolist(), _rows(outputs), strict=True)
    notes = [
        {"id": 900 - row, "image_id": 40 + number, "caption": text} for row, (number, (_, text)) in enumerate(rows)
    ]
    images = [{"id": 40 + number, "file_name": f"{number}.jpg"} for number in outputs.image_ids.tolist()]
    return json.dumps({"info": {}, "images": images, "annotations": notes})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", _csv),
        ("captions.csv", _csv),
        ("results.csv", _pipes),
        ("captions.tsv", _tabs),
        ("Flickr8k.token.txt", _numbered),
        ("captions.jsonl", _json_lines),
        ("captions.json", _json_lines),
        ("captions.json", _lists),
        ("captions_val2017.json", _coco),
    ],
)
def test_caption_files_that_tell_their_images(outputs, evaluate, values_of, name, content):
    pytest.importorskip("sklearn")
    path = outputs.folder / name
    text = content(outputs)
    wanted = values_of(evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "cider"))
    path.write_text(text)
    results = evaluate(outputs.save(), "--captions", path)
    assert values_of(results).items() <= wanted.items()
    assert results["images"] == 12
    assert results["texts"] == 24
    assert "CIDEr" in evaluate(outputs.save(), "--captions", path, "--labels", "cider")["labels"][""]


def test_captions_per_image_beside_a_table_must_agree(outputs, evaluate, values_of):
    path = outputs.folder / "captions.csv"
    path.write_text("image,caption\n" + "".join(f"{row // 2}.jpg,a {row}\n" for row in range(24)))
    told = evaluate(outputs.save(), "--captions", path)
    assert evaluate(outputs.save(), "--captions", path, "--captions_per_image", 2) == told
    with pytest.raises(
        ValueError, match=r"captions\.csv tells which captions belong to an image: leave out --captions_p"
    ):
        evaluate(outputs.save(), "--captions", path, "--captions_per_image", 4)
    with pytest.raises(ValueError, match=r"leave out --captions_per_image and --image_ids"):
        evaluate(outputs.save(), "--captions", path, "--image_ids", path)
    with pytest.raises(ValueError, match=r"--split is for a Karpathy JSON as --captions, got .*captions\.csv"):
        evaluate(outputs.save(), "--captions", path, "--split", "test")


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_coco_that_is_not_sorted_leaves_the_order_open(outputs, evaluate, part):
    content = json.loads(_coco(outputs))
    content[part].reverse()
    (outputs.folder / "coco.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must be clear, but its lists are not sorted by image id: .* Sort the list"):
        evaluate(outputs.save(), "--captions", outputs.folder / "coco.json")


def test_captions_of_coco_have_its_ids(outputs):
    from vse_lightning.cli.evaluate.paired_captions import read_paired

    path = outputs.folder / "coco.json"
    path.write_text(_coco(outputs))
    captions = read_paired(path, None)
    assert captions.coco_image_ids.tolist() == [40 + number for number in outputs.image_ids.tolist()]
    assert captions.coco_text_ids.tolist() == [900 - row for row in range(24)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file,caption\n0,a\n", "a table must have a column image or image_name or .*a.csv has file, caption"),
        (
            "a.csv",
            "image,said\n0,a\n",
            "a table must have a column caption or comment or text, .*a.csv has image, said",
        ),
        ("a.csv", "image,caption\n0,\n", "--captions must have a caption, or .*, got '' in line 2 of a.csv"),
        ("a.csv", "image,caption\n,a\n", "--captions must say of which image each row is, got '' in line 2 of a.csv"),
        ("a.csv", "image,caption\n0,a,b\n", "--captions: line 2 of .*a.csv must have 2 cells"),
        (
            "a.json",
            '[{"image": "0", "caption": []}]',
            r"--captions must have a caption, or .*, got \[\] in entry 0 of a",
        ),
        (
            "a.json",
            '[{"image": "0", "caption": [null]}]',
            r"--captions must have a caption, or .*, got \[None\] in entry 0",
        ),
        ("a.json", '[{"caption": "a"}]', "a table must have a column image or"),
        ("a.json", '{"images": [{"id": 1}], "annotations": [{"id": 1}]}', "and .*a.json is none .it has no 'image_id'"),
        ("a.json", '{"annotations": []}', "and .*a.json is none .it has no 'images'"),
        (
            "a.json",
            '{"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 2, "caption": "a"}]}',
            "annotations of .*a.json must be of its images, got the image_id 2",
        ),
        (
            "a.json",
            '{"images": [{"id": 1}, {"id": 2}], "annotations": [{"id": 1, "image_id": 2, "caption": "a"}]}',
            "every image needs a caption, image 1 of .*a.json has none",
        ),
        (
            "a.json",
            '{"images": [{"split": "test", "sentences": ["a"]}]}',
            r"images\[0\] of .* must have a list of sentenc",
        ),
        ("a.json", '{"images": []}', "has a list 'images' with at least one entry"),
        ("a.json", '{"images": [{"split": "test", "sentences": [{"raw": "\\ud83d"}]}]}', "half of a character"),
        ("a.json", "{", "--captions must be a JSON file, got .*a.json"),
        ("a.txt", "\ufeffa dog\n\n", "--captions must have a caption on each line, line 2 of .* is empty"),
    ],
)
def test_caption_files_that_tell_nothing(outputs, evaluate, name, content, message):
    (outputs.folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        evaluate(
            outputs.save(),
            "--captions",
            outputs.folder / name,
            *(["--captions_per_image", 1] if name == "a.txt" else []),
        )


def test_a_folder_as_captions(outputs, evaluate):
    with pytest.raises(ValueError, match="--captions must be a text file in UTF-8, got"):
        evaluate(outputs.save(), "--captions", outputs.folder, "--captions_per_image", 2)


def test_a_karpathy_file_that_was_sorted_anew_is_told(outputs, evaluate, values_of):
    content = json.loads(outputs.captions.read_text())
    plain = values_of(evaluate(outputs.save(), "--captions", outputs.captions))
    for number, image in enumerate(content["images"]):
        image["imgid"] = 21 - number
    outputs.captions.write_text(json.dumps(content))
    with pytest.warns(
        UserWarning, match=r"rows follow the order of .*captions\.json, which is not that of its 'imgid'"
    ):
        assert values_of(evaluate(outputs.save(), "--captions", outputs.captions)) == plain
