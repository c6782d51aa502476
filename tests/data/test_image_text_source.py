import json
import pickle
import zipfile

import pytest
import torch

from vse_lightning.data import ImageTextSource, KarpathySource


class Numbers(ImageTextSource):
    def load_image(self, image_id):
        return torch.full((2,), float(image_id))


def make(captions=("a", "b", "c", "d"), text_image_ids=(1, 0, 1, 2), splits=None, num_images=3, image_names=None):
    splits = {"train": [0, 1], "test": [2]} if splits is None else splits
    return Numbers(
        captions,
        torch.tensor(text_image_ids),
        {name: torch.tensor(ids, dtype=torch.int64) for name, ids in splits.items()},
        num_images,
        image_names,
    )


def test_captions_of_images_come_image_by_image_in_source_order():
    source = make()
    assert source.captions_per_image.tolist() == [1, 2, 1]
    assert source.text_ids(torch.tensor([2, 1, 0])).tolist() == [3, 0, 2, 1]
    assert source.text_ids(torch.tensor([1, 1])).tolist() == [0, 2, 0, 2]
    assert source.text_ids(torch.tensor([], dtype=torch.int64)).tolist() == []


def test_split_names_those_that_there_are():
    assert make().split("test").tolist() == [2]
    with pytest.raises(ValueError, match=r"split must be one of \['test', 'train'\], got 'val'"):
        make().split("val")


def test_image_without_captions_is_named():
    with pytest.raises(ValueError, match=r"at least one caption; without one: two\.jpg"):
        make(captions=("a", "b"), text_image_ids=(0, 1), image_names=["zero.jpg", "one.jpg", "two.jpg"])


def test_many_images_without_captions_are_counted():
    with pytest.raises(ValueError, match=r"without one: image 1, image 2, .* image 5 and 4 more"):
        make(captions=("a",), text_image_ids=(0,), num_images=10)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_empty_caption_names_its_image(blank):
    with pytest.raises(ValueError, match=r"captions must not be empty, got .* for image 1 \(caption 2\)"):
        make(captions=("a", "b", blank, "d"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text_image_ids": (0, 1, 2)}, r"one entry for each of the 4 captions, got torch.int64 of shape \(3,\)"),
        ({"text_image_ids": (0.0, 1.0, 2.0, 2.0)}, "must be int64"),
        ({"text_image_ids": (0, 1, 2, 3)}, r"text_image_ids: image ids must be 0 to 2 .* got 3"),
        ({"splits": {}}, "splits must name at least one split"),
        ({"splits": {"train": [0, 1], "val": []}}, "split 'val' has no images"),
        ({"splits": {"train": [0, 7]}}, r"split 'train': image ids must be 0 to 2 .* got 7"),
        ({"splits": {"train": [0, 1], "val": [1, 2]}}, "image 1 in 'train' and 'val'"),
    ],
)
def test_wrong_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)


def test_own_relevance_is_the_exception():
    with pytest.raises(ValueError, match="Numbers knows no graded relevance of its own"):
        make().relevance_table()


def test_survives_pickling():
    source = pickle.loads(pickle.dumps(make()))
    assert source.text_ids(torch.tensor([1])).tolist() == [0, 2]


def test_pictures_of_training_in_the_test_are_counted_in_a_warning():
    splits = {"train": [0, 1], "test": [2, 3], "val": [4]}
    names = ["a.jpg", "b.jpg", "c.jpg", "b.jpg", "d.jpg"]
    with pytest.warns(
        UserWarning, match=r"1 of the 2 pictures of the split 'test' are in 'train' too, by name: b\.jpg"
    ):
        make(captions=list("abcde"), text_image_ids=range(5), splits=splits, num_images=5, image_names=names)


def test_pictures_of_training_are_known_by_their_contents_too(tmp_path):
    images = [
        {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": "a dog"}]}
        for name, split in {"a": "train", "b": "train", "c": "test", "d": "val"}.items()
    ]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name, content in {"a": "one", "b": "two", "c": "two", "d": "three"}.items():
            archive.writestr(f"{name}.jpg", content)
    told = r"1 of the 1 pictures of the split 'test' are in 'train' too, by content: c\.jpg"
    with pytest.warns(UserWarning, match=told):
        source = KarpathySource(tmp_path / "split.json", images=tmp_path / "pictures.zip")
    (tmp_path / "split.json").write_text(json.dumps({"images": images[:3]}))
    with pytest.warns(UserWarning, match=told):
        assert (
            KarpathySource(tmp_path / "split.json", images=tmp_path / "pictures.zip").fingerprint != source.fingerprint
        )
