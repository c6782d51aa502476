import pytest
import torch
from PIL import Image

from vse_lightning.data import KarpathySource, ShapesSource
from vse_lightning.data.dataset import ImageTextDataset, UnreadableImageError, default_transform


@pytest.fixture
def source(karpathy):
    return KarpathySource(karpathy / "captions.json", features=karpathy / "features.npy")


def test_pairs_are_all_captions_of_a_split(source):
    pairs = ImageTextDataset.pairs(source, "train")
    assert len(pairs) == 7
    items = [pairs[k] for k in range(7)]
    assert [item.image_id for item in items] == [0, 1, 1, 2, 2, 2, 3]
    assert [item.text_ids.tolist() for item in items] == [[0], [1], [2], [3], [4], [5], [6]]
    assert items[2].texts == ["green again 0"]
    assert items[2].image.tolist() == [3.0, 4.0, 5.0]


def test_images_come_once_with_all_their_captions(source):
    images = ImageTextDataset.images(source, "val")
    assert [images[k].image_id for k in range(len(images))] == [4, 5]
    assert [images[k].text_ids.tolist() for k in range(2)] == [[7, 8], [9, 10, 11]]
    assert images[1].texts[0] == "A green picture , number 5 ."


def test_unknown_split(source):
    with pytest.raises(ValueError, match=r"split must be one of .* got 'valid'"):
        ImageTextDataset.images(source, "valid")


def test_default_transform_matches_the_pixels():
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((2, 1), (255, 51, 0))
    tensor = default_transform(picture)
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert tensor.sum() == pytest.approx(1.2)


def test_transform_sees_the_picture():
    dataset = ImageTextDataset.images(ShapesSource(10), "val", lambda picture: torch.tensor(picture.size))
    assert dataset[0].image.tolist() == [64, 64]


def test_unreadable_picture_is_named(karpathy):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    (karpathy / "pictures" / "b" / "4.png").write_bytes(b"not a picture")
    with pytest.raises(UnreadableImageError, match=r"4\.png \(image_id 4\) cannot be read: cannot identify image"):
        ImageTextDataset.images(source, "val")[0]


def test_skipped_images_are_replaced_by_the_next_item(karpathy):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    for row in (1, 3):
        (karpathy / "pictures" / "a" / f"{row}.png").write_bytes(b"not a picture")
    skipped = torch.zeros(8, dtype=torch.bool)
    pairs = ImageTextDataset.pairs(source, "train", skipped=skipped)
    assert [pairs[index].image_id for index in range(7)] == [0, 2, 2, 2, 2, 2, 0]
    assert skipped.nonzero().flatten().tolist() == [1, 3]


def test_nothing_to_read(karpathy):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    for row in (4, 5):
        next((karpathy / "pictures").glob(f"*/{row}.png")).write_bytes(b"")
    images = ImageTextDataset.images(source, "val", skipped=torch.zeros(8, dtype=torch.bool))
    with pytest.raises(UnreadableImageError, match="none of 2 images can be read"):
        images[0]


def test_errors_of_a_transform_are_not_skipped():
    def broken(picture):
        raise ValueError("broken transform")

    dataset = ImageTextDataset.images(ShapesSource(10), "val", broken, torch.zeros(10, dtype=torch.bool))
    with pytest.raises(ValueError, match="broken transform"):
        dataset[0]
