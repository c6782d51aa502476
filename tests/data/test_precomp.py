import json
import pickle

import numpy as np
import pytest
import torch

from vse_lightning.data import ImageTextDataModule, PrecompSource
from vse_lightning.data.files.feature_file import FeatureFile


@pytest.fixture
def write(tmp_path):
    """Write one split of a folder: so many captions, these features, perhaps ids."""

    def write(split, captions, features, ids=None):
        texts = [f"{split} caption {k}" for k in range(captions)] if isinstance(captions, int) else captions
        (tmp_path / f"{split}_caps.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        np.save(tmp_path / f"{split}_ims.npy", features)
        if ids is not None:
            (tmp_path / f"{split}_ids.txt").write_text("".join(f"{image}\n" for image in ids))
        return tmp_path

    return write


def rows(count, *shape, dtype=np.float32):
    """Features whose row k is full of k."""
    return np.broadcast_to(np.arange(count).reshape(-1, *([1] * len(shape))), (count, *shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_several_captions_for_each_row(write, shape, dtype):
    write("train", 10, rows(2, *shape, dtype=dtype))
    source = PrecompSource(write("dev", 6, rows(3, *shape, dtype=dtype)))
    assert {name: ids.tolist() for name, ids in source.splits.items()} == {"val": [0, 1, 2], "train": [3, 4]}
    assert source.text_image_ids.tolist() == [0, 0, 1, 1, 2, 2] + [3] * 5 + [4] * 5
    assert source.captions[6] == "train caption 0"
    torch.testing.assert_close(source.load_image(4), torch.ones(shape))
    torch.testing.assert_close(source.load_image(2), torch.full(shape, 2.0))


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_rows_written_once_for_each_caption(write, shape):
    features = rows(4, *shape)[[0, 0, 0, 1, 2, 2, 3]]
    source = PrecompSource(write("train", 7, features))
    assert source.text_image_ids.tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert [source.load_image(image_id).flatten()[0] for image_id in range(4)] == [0, 1, 2, 3]


def test_one_caption_for_each_image(write):
    source = PrecompSource(write("train", 4, rows(4, 3)))
    assert source.text_image_ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("rows_of", ["ids", "captions"])
def test_ids_of_captions_allow_any_number_of_captions(write, rows_of):
    ids = [17, 5, 17, 17, 9, 5]
    features = rows(3, 2) if rows_of == "ids" else rows(3, 2)[[0, 1, 0, 0, 2, 1]]
    source = PrecompSource(write("train", 6, features, ids))
    assert source.text_image_ids.tolist() == [0, 1, 0, 0, 2, 1]
    assert source.captions_per_image.tolist() == [3, 2, 1]
    assert [source.load_image(image_id)[0] for image_id in range(3)] == [0, 1, 2]
    assert source.image_name(2) == "train image 9"


@pytest.mark.parametrize("above", [False, True])
def test_id_mapping_names_images(write, above, tmp_path):
    root = write("test", 4, rows(2, 3), ids=[7, 3])
    mapping = {"7": "seven.jpg", "3": "three.jpg"}
    if above:
        (tmp_path / "precomp").mkdir()
        for path in root.glob("test_*"):
            path.rename(tmp_path / "precomp" / path.name)
        root = tmp_path / "precomp"
    (tmp_path / "id_mapping.json").write_text(json.dumps(mapping))
    source = PrecompSource(root)
    assert [source.image_name(image_id) for image_id in range(2)] == ["seven.jpg", "three.jpg"]
    assert source.text_image_ids.tolist() == [0, 0, 1, 1]


def test_all_different_ids_of_captions_say_nothing(write):
    source = PrecompSource(write("train", 4, rows(2, 3)[[0, 0, 1, 1]], ids=[40, 41, 42, 43]))
    assert source.text_image_ids.tolist() == [0, 0, 1, 1]


def test_splits_may_be_chosen(write):
    for split, images in (("train", 2), ("dev", 3), ("test", 1), ("testall", 5)):
        root = write(split, 2 * images, rows(images, 3))
    assert set(PrecompSource(root).splits) == {"train", "val", "test", "testall"}
    source = PrecompSource(root, splits={"val": "dev", "test": "testall"})
    assert {name: len(ids) for name, ids in source.splits.items()} == {"val": 3, "test": 5}


def test_captions_end_at_line_feeds_only(write):
    source = PrecompSource(write("train", ["a\u2028b", "c\x0bd", "e\r", "f \x85g"], rows(2, 3)))
    assert source.captions == ["a\u2028b", "c\x0bd", "e", "f \x85g"]


def test_features_stay_on_disk(write):
    source = PrecompSource(write("train", 4000, rows(2000, 100)))
    assert len(pickle.dumps(source._features)) < 500
    assert pickle.loads(pickle.dumps(source)).load_image(1999)[0] == 1999


def test_loads_batches(write):
    write("train", 10, rows(5, 3, 4))
    data = ImageTextDataModule(PrecompSource(write("dev", 5, rows(1, 3, 4))), batch_size=5, num_workers=0)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].shape == (5, 3, 4)
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (1, 3, 4)
    assert batch["text"] == [f"dev caption {k}" for k in range(5)]


def test_captions_and_rows_that_do_not_fit(write):
    with pytest.raises(ValueError, match=r"7 captions are no multiple of 3 rows; .* write train_ids\.txt"):
        PrecompSource(write("train", 7, rows(3, 2)))


def test_ids_that_do_not_fit(write):
    with pytest.raises(ValueError, match=r"train_ids\.txt must have a line for each of the 6 captions .* got 4"):
        PrecompSource(write("train", 6, rows(3, 2), ids=[1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"a row for each of the 6 captions or of the 2 different ids in .*, got 3"):
        PrecompSource(write("train", 6, rows(3, 2), ids=[1, 1, 1, 2, 2, 2]))


def test_splits_of_different_features(write):
    write("train", 2, rows(2, 3))
    with pytest.raises(
        ValueError, match=r"features of all splits must have one shape, got \{'dev': \(4,\), 'train': \(3,\)"
    ):
        PrecompSource(write("dev", 2, rows(2, 4)))


def test_missing_files(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root: no files named '\*_caps\.txt'"):
        PrecompSource(tmp_path)
    root = write("train", 2, rows(2, 3))
    with pytest.raises(FileNotFoundError, match=r"root: nothing at .*tain_caps\.txt.* did you mean .*train_caps\.txt"):
        PrecompSource(root, splits={"train": "tain"})
    (root / "train_ims.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"features: nothing at .*train_ims.npy"):
        PrecompSource(root)


def test_empty_caption_line(write):
    with pytest.raises(ValueError, match=r"train_caps.txt must have a caption on each line, line 2 in .* is empty"):
        PrecompSource(write("train", ["a", "", "c"], rows(3, 2)))


def test_captions_that_are_no_text(write):
    root = write("train", 0, rows(2, 3))
    with pytest.raises(ValueError, match=r"train_caps\.txt must have a caption on each line, got an empty file in /"):
        PrecompSource(root)
    (root / "train_caps.txt").write_bytes("café\nbar\n".encode("latin-1"))
    with pytest.raises(
        ValueError,
        match=r"root must be a text file in UTF-8, got .*train_caps\.txt: it holds the byte 0xe9",
    ):
        PrecompSource(root)


def test_damaged_id_mapping(write):
    root = write("train", 2, rows(2, 3), ids=[1, 2])
    (root / "id_mapping.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="must be a JSON object, id -> file name"):
        PrecompSource(root)


def test_empty_features(tmp_path):
    np.save(tmp_path / "features.npy", np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"got float64 of shape \(0, 3\)"):
        FeatureFile(tmp_path / "features.npy")


def test_blank_id(write):
    with pytest.raises(ValueError, match=r"train_ids\.txt must have an id on each line, line 3 is empty"):
        PrecompSource(write("train", 4, rows(4, 2), ids=[1, 1, "", 2]))


def test_byte_order_marks_are_no_part_of_captions_and_ids(write):
    root = write("train", 4, rows(2, 3), ids=[7, 8, 7, 8])
    for path in root.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    source = PrecompSource(root)
    assert source.captions[0] == "train caption 0"
    assert source.text_image_ids.tolist() == [0, 1, 0, 1]
