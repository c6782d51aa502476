import json
import pickle
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from vse_lightning.data import ImageTextDataModule, KarpathySource
from vse_lightning.data.files.decoding import UnreadableImageError


def test_reads_captions_and_splits(karpathy):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    assert source.num_images == 8
    assert source.splits["train"].tolist() == [0, 1, 2, 3]  # restval joins train
    assert source.split("val").tolist() == [4, 5]
    assert source.captions[:3] == ["A red picture , number 0 .", "A green picture , number 1 .", "green again 0"]
    assert source.text_image_ids.tolist() == [0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5, 6, 7, 7]
    assert source.image_name(3) == "3.png"


@pytest.mark.filterwarnings("ignore:.* in 'train' too, by content")  # the pictures are of few colours
def test_reads_pictures_from_a_folder_or_a_zip(karpathy, tmp_path):
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in (karpathy / "pictures").rglob("*.png"):
            archive.write(path, path.name)
    for images in (karpathy / "pictures", tmp_path / "pictures.zip"):
        source = pickle.loads(pickle.dumps(KarpathySource(karpathy / "captions.json", images=images)))
        assert source.load_image(1).getpixel((0, 0)) == (0, 250, 0)
        assert source.load_image(7).size == (5, 5)


def test_reads_features(karpathy):
    source = KarpathySource(str(karpathy / "captions.json"), features=str(karpathy / "features.npy"))
    assert source.load_image(2).tolist() == [6.0, 7.0, 8.0]
    assert source.load_image(2).dtype == torch.float32


@pytest.mark.parametrize(("given", "names"), [("neither", []), ("both", ["images", "features"])])
def test_pictures_or_features(karpathy, given, names):
    with pytest.raises(ValueError, match=f"give either images .* or features .* got {given}"):
        KarpathySource(karpathy / "captions.json", **dict.fromkeys(names, karpathy))


def test_missing_captions_file(karpathy):
    with pytest.raises(FileNotFoundError, match=r"captions: nothing at .* did you mean"):
        KarpathySource(karpathy / "caption.json", features=karpathy / "features.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", r"captions must be a JSON file, got .*captions\.json"),
        ("[]", "has a list 'images' with at least one entry"),
        ('{"images": []}', "has a list 'images' with at least one entry"),
        ('{"images": [3]}', r"images\[0\] of .* must be an object, got int"),
        ('{"images": [{"filename": "a", "split": "train"}]}', r"lacks \['sentences'\], got \['filename', 'split'\]"),
        (
            '{"images": [{"filename": "a", "split": 3, "sentences": []}]}',
            r"images\[0\] .* must have a string as split, got 3",
        ),
        ('{"images": [{"id": 1, "coco_url": ""}], "annotations": []}', "is it COCO's own file of annotations?"),
    ],
)
def test_wrong_split_file(karpathy, content, message):
    (karpathy / "captions.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")


@pytest.mark.parametrize("sentence", ["a dog", {}, {"raw": None}, {"raw": 3}, {"tokens": "a dog"}, {"tokens": [1, 2]}])
def test_sentence_without_text(karpathy, edit_captions, sentence):
    path = edit_captions(lambda images: images[4]["sentences"].append(sentence))
    message = r"images\[4\] of .* \(4\.png\) must have a list of sentences with text as 'raw' or words as 'tokens' each"
    with pytest.raises(ValueError, match=message):
        KarpathySource(path, features=karpathy / "features.npy")


def test_image_without_captions(karpathy, edit_captions):
    path = edit_captions(lambda images: images[4].update(sentences=[]))
    with pytest.raises(ValueError, match=r"images\[4\] of .* \(4\.png\) must have at least one sentence, got none"):
        KarpathySource(path, features=karpathy / "features.npy")


def test_blank_caption(karpathy, edit_captions):
    path = edit_captions(lambda images: images[4]["sentences"].append({"raw": "  "}))
    with pytest.raises(
        ValueError, match=r"images\[4\] of .* \(4\.png\) must have sentences that are not blank, got '  '"
    ):
        KarpathySource(path, features=karpathy / "features.npy")


def test_wrong_number_of_feature_rows(karpathy, edit_captions):
    path = edit_captions(lambda images: images.pop())
    with pytest.raises(ValueError, match="one row for each of the 7 images, got 8"):
        KarpathySource(path, features=karpathy / "features.npy")


def _number(images):
    for row, image in enumerate(images):
        image["imgid"] = row


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images.reverse(),
        lambda images: images.pop(2),
        lambda images: images.__delitem__(slice(0, 3)),
        lambda images: images.sort(key=lambda image: image["split"]),
        lambda images: None,
    ],
)
def test_row_of_features_is_the_imgid(karpathy, edit_captions, change):
    edit_captions(_number)
    source = KarpathySource(edit_captions(change), features=karpathy / "features.npy")
    features = np.load(karpathy / "features.npy")
    for image_id in range(source.num_images):
        row = int(source.image_name(image_id).removesuffix(".png"))
        assert source.load_image(image_id).tolist() == features[row].tolist()


def test_imgid_beyond_the_features(karpathy, edit_captions):
    edit_captions(_number)
    path = edit_captions(lambda images: images.__delitem__(slice(0, 3)))
    np.save(karpathy / "features.npy", np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"a row for each 'imgid' of .*, which run to 7, got 5 rows .* no 'imgid'"):
        KarpathySource(path, features=karpathy / "features.npy")


def test_rows_more_than_images_whose_imgid_are_their_order(karpathy, edit_captions):
    edit_captions(_number)
    np.save(karpathy / "features.npy", np.ones((15, 3)))  # one for each caption
    with pytest.raises(ValueError, match="one row for each of the 8 images, got 15"):
        KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[3].pop("imgid"), r"images\[3\] of .* must have a row number as 'imgid', got None"),
        (lambda images: images[3].update(imgid="3"), r"images\[3\] of .* must have a row number as 'imgid', got '3'"),
        (lambda images: images[3].update(imgid=-1), r"images\[3\] of .* must have a row number as 'imgid', got -1"),
        (lambda images: images[3].update(imgid=1), r"images\[1\] and images\[3\] of .* have the same 'imgid', 1"),
    ],
)
def test_wrong_imgid(karpathy, edit_captions, change, message):
    edit_captions(_number)
    path = edit_captions(change)
    with pytest.raises(ValueError, match=message):
        KarpathySource(path, features=karpathy / "features.npy")
    assert KarpathySource(path, images=karpathy / "pictures").num_images == 8  # pictures go by their names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[3].pop("filename"), r"images\[3\] of .* lacks \['filename'\], got"),
        (
            lambda images: images[3].update(filename=3),
            r"images\[3\] of .* must have strings as filename and filepath, got 3",
        ),
        (lambda images: images[3].update(filename="1.png"), r"images\[1\] and images\[3\] of .* are both a/1\.png"),
    ],
)
def test_wrong_names_of_pictures(karpathy, edit_captions, change, message):
    path = edit_captions(change)
    with pytest.raises(ValueError, match=message):
        KarpathySource(path, images=karpathy / "pictures")
    assert KarpathySource(path, features=karpathy / "features.npy").num_images == 8


def test_half_of_a_character_in_a_caption(karpathy, edit_captions):
    path = edit_captions(lambda images: images[1]["sentences"].append({"raw": "a cat \ud83d"}))
    with pytest.raises(ValueError, match=r"captions must be text .* got half of a character, '\\ud83d', in row 3"):
        KarpathySource(path, features=karpathy / "features.npy")


def test_byte_order_mark(karpathy):
    path = karpathy / "captions.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert KarpathySource(path, features=karpathy / "features.npy").num_images == 8


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_picture_is_named_by_the_loader(karpathy, num_workers):
    (karpathy / "pictures" / "b" / "4.png").write_bytes(b"<html>not found</html>")
    data = ImageTextDataModule(
        KarpathySource(karpathy / "captions.json", images=karpathy / "pictures"), num_workers=num_workers
    )
    data.setup("validate")
    message = r"pictures/b/4\.png cannot be read as a picture: it is a page of HTML or XML, not a picture"
    with pytest.raises(UnreadableImageError, match=message):
        next(iter(data.val_dataloader()))


def test_nan_in_features(karpathy):
    features = np.load(karpathy / "features.npy")
    features[6, 0] = np.nan
    np.save(karpathy / "features.npy", features)
    with pytest.raises(ValueError, match="NaN or infinity in row 6"):
        KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")


def test_missing_picture(karpathy):
    (karpathy / "pictures" / "a" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images: 1 of 8 pictures are not in .*: a/3\.png"):
        KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")


def test_flickr8k_pictures(flickr8k):
    source = KarpathySource(flickr8k / "captions.json", images=flickr8k / "images_128px.zip")
    assert {name: len(ids) for name, ids in source.splits.items()} == {
        "train": 6000, "val": 1000, "test": 1000, "extra": 91
    }  # fmt: skip
    assert len(source.captions) == 40455
    assert sum(caption.lower() == "a" for caption in source.captions) == 2
    assert source.load_image(8090).size == (128, 128)


def test_flickr8k_features(flickr8k):
    path = flickr8k / "efficientnet-lite2_features.f16.npy"
    source = KarpathySource(flickr8k / "captions.json", features=path)
    np.testing.assert_array_equal(source.load_image(4711).numpy(), np.load(path, mmap_mode="r")[4711])
    sentences = json.loads((flickr8k / "captions.json").read_text())["images"][4711]["sentences"]
    text_ids = source.text_ids(torch.tensor([4711]))
    assert text_ids.tolist() == [sentence["sentid"] for sentence in sentences]
    assert [source.captions[j] for j in text_ids] == [sentence["raw"] for sentence in sentences]
