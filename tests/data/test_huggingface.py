import json
import pickle

import pytest
import torch
from datasets import Dataset, DatasetDict, Image, disable_progress_bars
from PIL import Image as Picture

from vse_lightning.data import HuggingFaceSource, ImageTextDataModule

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)]
SPLITS = {"train": [0, 1], "validation": [2], "test": [3]}

disable_progress_bars()


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
        split: Dataset.from_dict(
            {
                "image": [str(pictures / f"{row}.png") for row in rows],
                "caption": [[f"picture {row}", f"number {row}"][: 1 + row % 2] for row in rows],
            }
        ).cast_column("image", Image())
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
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
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


def test_json_file_with_paths_of_pictures_and_a_split_column(pictures, tmp_path, options):
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
    check(HuggingFaceSource(tmp_path / "rows.jsonl", **columns, load_options=options))


def test_rows_of_single_captions_are_grouped_by_id(pictures, tmp_path):
    rows = [(0, "picture 0"), (1, "picture 1"), (2, "picture 2"), (1, "number 1"), (3, "picture 3"), (3, "number 3")]
    Dataset.from_dict(
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
    assert HuggingFaceSource(tmp_path / "saved").num_images == 6  # without: each row is an image


def test_captions_in_several_columns(pictures, tmp_path):
    files = [str(pictures / f"{row}.png") for row in range(2)]
    columns = {"caption_0": ["a", "b"], "caption_1": ["c", "d"], "more": [["e"], []]}
    Dataset.from_dict({"image": files, **columns}).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved", caption_column=list(columns))
    assert source.captions == ["a", "c", "e", "b", "d"]
    assert source.text_image_ids.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"caption_column must be one of .* got 'caption_2'"):
        HuggingFaceSource(tmp_path / "saved", caption_column=["caption_0", "caption_2"])
    with pytest.raises(ValueError, match=r"caption_column must name at least one column, got \[\]"):
        HuggingFaceSource(tmp_path / "saved", caption_column=[])


def test_equal_ids_in_two_splits_are_two_images(parts, tmp_path):
    numbered = {name: part.add_column("key", list(range(len(part)))) for name, part in parts.items()}
    DatasetDict(numbered).save_to_disk(tmp_path / "saved")
    check(HuggingFaceSource(tmp_path / "saved", id_column="key"))


def test_pictures_are_decoded_in_workers(parts, tmp_path):
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
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
    Dataset.from_dict({"image": [1, 2], "caption": ["a", "b"], "number": [1, 2]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        ValueError, match="image_column must hold pictures or paths of pictures, got 'image' of type Value"
    ):
        HuggingFaceSource(tmp_path / "saved")
    with pytest.raises(ValueError, match="caption_column must hold a string or a list of strings, got 1 in 'number'"):
        HuggingFaceSource(tmp_path / "saved", caption_column="number")


def test_row_without_captions(pictures, tmp_path):
    Dataset.from_dict({"image": [str(pictures / "0.png")] * 2, "caption": [["a"], []]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="at least one caption; without one: train row 1"):
        HuggingFaceSource(tmp_path / "saved")


def test_misspelt_path(tmp_path):
    (tmp_path / "flickr.parquet").touch()
    with pytest.raises(FileNotFoundError, match=r"path: nothing at .* did you mean '.*flickr\.parquet'"):
        HuggingFaceSource(tmp_path / "flikr.parquet")
