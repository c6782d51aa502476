import io
import json
import pickle
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from vse_lightning.data import HuggingFaceSource, ImageTextDataModule
from vse_lightning.data.files.decoding import UnreadableImageError

datasets = pytest.importorskip("datasets")
Picture = pytest.importorskip("PIL.Image")
pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)]
SPLITS = {"train": [0, 1], "validation": [2], "test": [3]}

datasets.disable_progress_bars()


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for row, colour in enumerate(COLOURS):
        Picture.new("RGB", (6, 4), colour).save(tmp_path / "pictures" / f"{row}.png")
    return tmp_path / "pictures"


@pytest.fixture
def parts(pictures):
    """Lists of captions, one row for each image, in three splits."""
    return {
        split: datasets.Dataset.from_dict(
            {
                "image": [str(pictures / f"{row}.png") for row in rows],
                "caption": [[f"picture {row}", f"number {row}"][: 1 + row % 2] for row in rows],
            }
        ).cast_column("image", datasets.Image())
        for split, rows in SPLITS.items()
    }


@pytest.fixture
def options(tmp_path):
    return {"cache_dir": str(tmp_path / "cache")}


def check(source):
    assert {name: ids.tolist() for name, ids in source.splits.items()} == {"train": [0, 1], "val": [2], "test": [3]}
    assert source.captions == ["picture 0", "picture 1", "number 1", "picture 2", "picture 3", "number 3"]
    assert source.text_image_ids.tolist() == [0, 1, 1, 2, 3, 3]
    pictures = [source.load_image(image_id) for image_id in range(4)]
    assert [picture.getpixel((0, 0)) for picture in pictures] == COLOURS
    assert {(picture.mode, picture.size) for picture in pictures} == {("RGB", (6, 4))}


def test_folder_of_save_to_disk(parts, tmp_path):
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    check(pickle.loads(pickle.dumps(HuggingFaceSource(tmp_path / "saved"))))


def test_one_saved_dataset_is_the_training_split(parts, tmp_path):
    parts["train"].save_to_disk(tmp_path / "saved")
    assert HuggingFaceSource(tmp_path / "saved").splits["train"].tolist() == [0, 1]


def test_folder_of_parquet_files(parts, tmp_path, options):
    (tmp_path / "data").mkdir()
    for split, part in parts.items():
        part.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    check(HuggingFaceSource(tmp_path / "data", load_options=options))


def test_one_parquet_or_arrow_file(parts, tmp_path, options):
    parts["train"].to_parquet(tmp_path / "some.parquet")
    parts["train"].save_to_disk(tmp_path / "saved")
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    for path in (tmp_path / "some.parquet", arrow):
        source = HuggingFaceSource(path, load_options=options)
        assert source.captions == ["picture 0", "picture 1", "number 1"]
        assert source.load_image(1).getpixel((0, 0)) == COLOURS[1]
        assert source.image_name(1) == "train row 1"


def test_folder_of_pictures_with_metadata(pictures, tmp_path, options):
    for split, rows in SPLITS.items():
        folder = tmp_path / "imagefolder" / split
        folder.mkdir(parents=True)
        lines = []
        for row in rows:
            (pictures / f"{row}.png").rename(folder / f"{row}.png")
            texts = [f"picture {row}", f"number {row}"][: 1 + row % 2]
            lines.append(json.dumps({"file_name": f"{row}.png", "caption": texts}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    check(HuggingFaceSource(tmp_path / "imagefolder", load_options=options))


def test_json_file_with_paths_of_pictures_and_a_split_column(pictures, tmp_path):
    rows = [
        {
            "file": str(pictures / f"{row}.png"),
            "texts": [f"picture {row}", f"number {row}"][: 1 + row % 2],
            "part": split,
        }
        for split, members in SPLITS.items()
        for row in members
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    columns = {"image_column": "file", "caption_column": "texts", "split_column": "part"}
    check(HuggingFaceSource(tmp_path / "rows.jsonl", **columns))


def test_rows_of_single_captions_are_grouped_by_id(pictures, tmp_path):
    rows = [(0, "picture 0"), (1, "picture 1"), (2, "picture 2"), (1, "number 1"), (3, "picture 3"), (3, "number 3")]
    datasets.Dataset.from_dict(
        {
            "image": [str(pictures / f"{row}.png") for row, _ in rows],
            "caption": [text for _, text in rows],
            "name": [f"n{row}" for row, _ in rows],
        }
    ).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved", id_column="name")
    assert source.text_image_ids.tolist() == [0, 1, 2, 1, 3, 3]
    assert [source.captions[j] for j in source.text_ids(torch.tensor([1]))] == ["picture 1", "number 1"]
    assert [source.load_image(image_id).getpixel((0, 0)) for image_id in range(4)] == COLOURS
    assert source.image_name(1) == "train name n1"
    by_path = HuggingFaceSource(tmp_path / "saved")  # one path is one picture
    assert by_path.text_image_ids.tolist() == [0, 1, 2, 1, 3, 3]
    assert by_path.image_name(1) == str(pictures / "1.png")


def test_captions_in_several_columns(pictures, tmp_path):
    files = [str(pictures / f"{row}.png") for row in range(2)]
    columns = {"caption_0": ["a", "b"], "caption_1": ["c", "d"], "more": [["e"], []]}
    datasets.Dataset.from_dict({"image": files, **columns}).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved", caption_column=list(columns))
    assert source.captions == ["a", "c", "e", "b", "d"]
    assert source.text_image_ids.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"caption_column must be one of .* got 'caption_2'"):
        HuggingFaceSource(tmp_path / "saved", caption_column=["caption_0", "caption_2"])
    with pytest.raises(ValueError, match=r"caption_column must name at least one column, got \[\]"):
        HuggingFaceSource(tmp_path / "saved", caption_column=[])


def test_equal_ids_in_two_splits_are_two_images(parts, tmp_path):
    numbered = {name: part.add_column("key", list(range(len(part)))) for name, part in parts.items()}
    datasets.DatasetDict(numbered).save_to_disk(tmp_path / "saved")
    check(HuggingFaceSource(tmp_path / "saved", id_column="key"))


def test_pictures_are_decoded_in_workers(parts, tmp_path):
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = ImageTextDataModule(HuggingFaceSource(tmp_path / "saved"), batch_size=3, num_workers=2)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (3, 3, 4, 6)
    assert sorted(batch["text"]) == ["number 1", "picture 0", "picture 1"]


def test_streaming_is_refused_with_a_reason():
    with pytest.raises(ValueError, match="must not ask for streaming: labels, evaluation and shuffling need every"):
        HuggingFaceSource("user/name", load_options={"streaming": True})


@pytest.mark.parametrize("argument", ["image_column", "caption_column", "id_column", "split_column"])
def test_missing_column_names_those_there_are(parts, tmp_path, argument):
    parts["train"].save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=rf"{argument} must be one of \['caption', 'image'\], got 'captoin'"):
        HuggingFaceSource(tmp_path / "saved", **{argument: "captoin"})


def test_columns_of_another_kind(tmp_path):
    datasets.Dataset.from_dict({"image": [1, 2], "caption": ["a", "b"], "number": [1, 2]}).save_to_disk(
        tmp_path / "saved"
    )
    with pytest.raises(
        ValueError, match="image_column must hold pictures, their bytes or their paths, got 'image' of type Value"
    ):
        HuggingFaceSource(tmp_path / "saved")
    with pytest.raises(ValueError, match="must hold a string or a list of strings, got 1 in 'number' of train row 0"):
        HuggingFaceSource(tmp_path / "saved", caption_column="number")


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([["a"], []], "caption_column: each row must have a caption, train row 1 has none in caption"),
        ([["a"], None], "must hold a string or a list of strings, got None in 'caption' of train row 1"),
        ([["a"], ["b", None]], "must hold a string or a list of strings, got None in 'caption' of train row 1"),
        ([["a"], ["b", " "]], "a caption must not be blank, got ' ' in 'caption' of train row 1"),
        (["a", None], "must hold a string or a list of strings, got None in 'caption' of train row 1"),
        (["a", ""], "a caption must not be blank, got '' in 'caption' of train row 1"),
        ([{"raw": "a"}, {"raw": "b"}], r"got {'raw': 'a'} in 'caption' of train row 0: write caption\.raw"),
        ([[{"raw": "a"}], [{"raw": "b"}]], r"got {'raw': 'a'} in 'caption' of train row 0: write caption\.raw"),
    ],
)
def test_missing_captions_are_named_by_row(pictures, tmp_path, captions, message):
    files = [str(pictures / f"{row}.png") for row in range(2)]
    datasets.Dataset.from_dict({"image": files, "caption": captions}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=message):
        HuggingFaceSource(tmp_path / "saved")


def test_rows_are_counted_in_their_split(parts, tmp_path):
    blank = parts["validation"].remove_columns("caption").add_column("caption", [[" "]])
    datasets.DatasetDict({**parts, "validation": blank}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="'caption' of validation row 0"):
        HuggingFaceSource(tmp_path / "saved")


@pytest.mark.parametrize(
    "sentences",
    [
        [[{"raw": "a", "id": 1}, {"raw": "b", "id": 2}], [{"raw": "c", "id": 3}]],
        [{"raw": ["a", "b"]}, {"raw": ["c"]}],
    ],
)
def test_captions_inside_of_objects(pictures, tmp_path, sentences):
    files = [str(pictures / f"{row}.png") for row in range(2)]
    datasets.Dataset.from_dict({"image": files, "sentences": sentences}).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved", caption_column="sentences.raw")
    assert source.captions == ["a", "b", "c"]
    assert source.text_image_ids.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"must be a field 'rw' in the objects of train row 0, got {.*'raw': .*'a'"):
        HuggingFaceSource(tmp_path / "saved", caption_column="sentences.rw")


def test_a_column_with_a_dot_in_its_name(pictures, tmp_path):
    columns = {"image": [str(pictures / "0.png")], "sentences.raw": ["a"], "sentences": [{"raw": "b"}]}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    assert HuggingFaceSource(tmp_path / "saved", caption_column="sentences.raw").captions == ["a"]


LINES = [(f"{row}.png", text) for row in range(4) for text in (f"A picture , {row}", "null", "7")]
AS_KAGGLE = "image,caption\n" + "".join(f'{name},"{text}"\n' for name, text in LINES)


@pytest.mark.parametrize("beside", ["", "Images", "images"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", AS_KAGGLE),
        ("captions.csv", AS_KAGGLE),
        ("captions.tsv", "image\tcaption\n" + "".join(f"{name}\t{text}\n" for name, text in LINES)),
        ("Flickr8k.token.txt", "".join(f"{name}#{k}\t{text}\n" for k, (name, text) in enumerate(LINES))),
        ("rows.jsonl", "".join(json.dumps({"image": name, "caption": text}) + "\n" for name, text in LINES)),
        ("rows.json", json.dumps([{"image": name, "caption": text} for name, text in LINES])),
    ],
)
def test_tables_in_text_files_beside_their_pictures(pictures, tmp_path, monkeypatch, beside, name, content):
    monkeypatch.chdir("/")
    folder = tmp_path / "data"
    folder.mkdir()
    pictures.rename(folder / "somewhere")
    (folder / "somewhere").rename(folder / beside) if beside else [
        path.rename(folder / path.name) for path in (folder / "somewhere").iterdir()
    ]
    (folder / name).write_text(content)
    source = pickle.loads(pickle.dumps(HuggingFaceSource(folder / name)))
    assert source.captions == [text for _, text in LINES]
    assert source.text_image_ids.tolist() == [row for row in range(4) for _ in range(3)]
    assert [source.load_image(image_id).getpixel((0, 0)) for image_id in range(4)] == COLOURS
    assert source.image_name(2) == "2.png"


def test_pictures_beside_the_table_go_before_those_of_the_working_directory(pictures, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    Picture.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "here" / "0.png")
    monkeypatch.chdir(tmp_path / "here")
    (pictures / "rows.csv").write_text("image,caption\n0.png,a\n")
    assert HuggingFaceSource(pictures / "rows.csv").load_image(0).getpixel((0, 0)) == COLOURS[0]
    (tmp_path / "rows.csv").write_text("image,caption\n0.png,a\n")
    assert HuggingFaceSource(tmp_path / "rows.csv").load_image(0).getpixel((0, 0)) == (1, 2, 3)


def test_two_folders_of_pictures_beside_a_table_are_not_guessed_between(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    for name in ("Images", "images"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "0.png").write_bytes((pictures / "0.png").read_bytes())
    if len({path.name for path in tmp_path.iterdir()} & {"Images", "images"}) < 2:
        pytest.skip("the file system does not know case")
    (tmp_path / "rows.csv").write_text("image,caption\n0.png,a\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 1 pictures are not in .*: 0\.png; images= says in which folder"):
        HuggingFaceSource(tmp_path / "rows.csv")
    assert HuggingFaceSource(tmp_path / "rows.csv", images=tmp_path / "Images").load_image(0).size == (6, 4)


def test_pictures_of_a_table_in_a_zip(pictures, tmp_path):
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in pictures.iterdir():
            archive.write(path, f"Flickr8k\\{path.name}")
    (tmp_path / "rows.csv").write_text("image,caption\n" + "".join(f"{row}.png,{row}\n" for row in range(4)))
    source = HuggingFaceSource(tmp_path / "rows.csv", images=tmp_path / "pictures.zip")
    assert [source.load_image(image_id).getpixel((0, 0)) for image_id in range(4)] == COLOURS


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (",a", ValueError, "image_column must hold paths of pictures on this machine, got '' in line 3 of rows.csv"),
        (
            "http://x/1.png,a",
            ValueError,
            "paths of pictures on this machine, got 'http://x/1.png' in line 3 of rows.csv",
        ),
        ("1.png,", ValueError, "a caption must not be blank, got '' in 'caption' of line 3 of rows.csv"),
        ("9.png,a", FileNotFoundError, r"1 of 2 pictures are not in .*pictures: 9\.png; images= says"),
    ],
)
def test_wrong_rows_of_a_table_are_named_by_line(pictures, line, error, message):
    (pictures / "rows.csv").write_text(f"image,caption\n0.png,a\n{line}\n")
    with pytest.raises(error, match=message):
        HuggingFaceSource(pictures / "rows.csv")


def test_json_tables_that_arrow_cannot_hold(pictures):
    path = pictures / "rows.jsonl"
    path.write_text('{"image": "0.png", "caption": "a"}\n{"image": "1.png", "caption": ["a"]}\n')
    with pytest.raises(ValueError, match=r"path: 'caption' of .*rows\.jsonl must hold values of one type"):
        HuggingFaceSource(path)
    path.write_text('{"image": "0.png", "caption": "a"}\n{"image": "1.png", "caption": "a \\ud83d"}\n')
    with pytest.raises(ValueError, match=r"'caption' of line 2 of rows\.jsonl holds half of a character: 'a \\ud83d'"):
        HuggingFaceSource(path)


def test_options_of_the_library_are_not_for_text_tables(pictures, options):
    (pictures / "rows.csv").write_text("image,caption\n0.png,a\n")
    with pytest.raises(
        ValueError, match=r"load_options are for what `datasets` loads, and .*rows\.csv is read without"
    ):
        HuggingFaceSource(pictures / "rows.csv", load_options=options)


@pytest.mark.parametrize("argument", ["id_column", "split_column"])
@pytest.mark.parametrize("missing", ["", None])
def test_ids_and_splits_must_be_told(pictures, argument, missing):
    rows = [{"image": f"{row}.png", "caption": "a", "key": ["x", missing][row]} for row in range(2)]
    (pictures / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(
        ValueError, match=f"{argument} must have a text or whole number in each row, got {missing!r} in"
    ):
        HuggingFaceSource(pictures / "rows.json", **{argument: "key"})


def _bytes(content):
    return pa.array(content)


def _large_bytes(content):
    return pa.array(content, pa.large_binary())


def _both(content):
    return pa.array([{"bytes": picture, "path": None} for picture in content])


def _both_with_names(content):
    return pa.array([{"bytes": picture, "path": f"{row}.png"} for row, picture in enumerate(content)])


@pytest.mark.parametrize("column", [_bytes, _large_bytes, _both, _both_with_names])
def test_parquet_of_encoded_pictures(pictures, tmp_path, options, column):
    content = [(pictures / f"{row}.png").read_bytes() for row in range(4)]
    table = pa.table({"image": column(content), "caption": pa.array(list("abcd"), pa.large_string())})
    pq.write_table(table, tmp_path / "rows.parquet")
    source = pickle.loads(pickle.dumps(HuggingFaceSource(tmp_path / "rows.parquet", load_options=options)))
    assert source.captions == list("abcd")
    assert [source.load_image(image_id).getpixel((0, 0)) for image_id in range(4)] == COLOURS
    with pytest.raises(ValueError, match="images is for a column of paths, and 'image' holds the pictures themselves"):
        HuggingFaceSource(tmp_path / "rows.parquet", load_options=options, images=pictures)


@pytest.mark.parametrize("decode", [False, True])
def test_pictures_of_the_library_go_through_our_reader(tmp_path, decode):
    contents = []
    exif = Picture.Exif()
    exif[0x0112] = 6
    for picture, more in [
        (Picture.new("RGBA", (6, 4), (250, 0, 0, 0)), {}),
        (Picture.fromarray(np.full((4, 6), 32896, np.uint16)), {}),
        (Picture.new("RGB", (4, 6), (1, 2, 3)), {"exif": exif}),
    ]:
        contents.append(io.BytesIO())
        picture.save(contents[-1], "PNG", **more)
    images = [{"bytes": content.getvalue(), "path": None} for content in contents] + [
        {"bytes": b"<html>", "path": "3.png"}
    ]
    rows = datasets.Dataset.from_dict({"image": images, "caption": list("abcd")}).cast_column(
        "image", datasets.Image(decode=decode)
    )
    rows.save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved")
    assert [source.load_image(row).getpixel((0, 0)) for row in range(3)] == [(255,) * 3, (128,) * 3, (1, 2, 3)]
    assert source.load_image(2).size == (6, 4)
    with pytest.raises(
        UnreadableImageError, match=r"^train row 3 \(3\.png\) cannot be read as a picture: it is a page"
    ):
        source.load_image(3)


def test_a_row_without_a_picture(pictures, tmp_path, options):
    pq.write_table(
        pa.table({"image": [(pictures / "0.png").read_bytes(), None], "caption": ["a", "b"]}), tmp_path / "rows.parquet"
    )
    source = HuggingFaceSource(tmp_path / "rows.parquet", load_options=options)
    with pytest.raises(
        UnreadableImageError, match="train row 1 cannot be read: there is no picture, neither bytes nor a"
    ):
        source.load_image(1)


def test_a_zip_of_pictures_with_metadata(pictures, tmp_path, options):
    (tmp_path / "zipped").mkdir()
    with ZipFile(tmp_path / "zipped" / "train.zip", "w") as archive:
        for row in range(4):
            archive.write(pictures / f"{row}.png", f"{row}.png")
        lines = [json.dumps({"file_name": f"{row}.png", "caption": f"picture {row}"}) for row in range(4)]
        archive.writestr("metadata.jsonl", "\n".join(lines))
    source = pickle.loads(pickle.dumps(HuggingFaceSource(tmp_path / "zipped", load_options=options)))
    order = [int(caption.split()[1]) for caption in source.captions]
    assert [source.load_image(image_id).getpixel((0, 0)) for image_id in range(4)] == [COLOURS[row] for row in order]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.parquet", r"path: .*rows\.parquet cannot be loaded: .*"),
        ("rows.xlsx", r"path: .*rows\.xlsx cannot be loaded: a file must be one of \.parquet, \.arrow, \.csv, \.tsv"),
        ("empty", r"path: .*empty cannot be loaded: .*doesn't contain any data files"),
    ],
)
def test_what_cannot_be_loaded(tmp_path, options, name, message):
    (tmp_path / name).mkdir() if name == "empty" else (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=message):
        HuggingFaceSource(tmp_path / name, load_options=options)


def test_misspelt_path(tmp_path):
    (tmp_path / "flickr.parquet").touch()
    with pytest.raises(FileNotFoundError, match=r"path: nothing at .* did you mean '.*flickr\.parquet'"):
        HuggingFaceSource(tmp_path / "flikr.parquet")
