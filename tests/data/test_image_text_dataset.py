import random

import numpy as np
import pytest
import torch

from vse_lightning.data import KarpathySource, ShapesSource
from vse_lightning.data.loaders.collate import Collate
from vse_lightning.data.loaders.image_text_dataset import ImageTextDataset, UnreadableImageError, default_transform

Image = pytest.importorskip("PIL.Image")


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


def test_default_transform_wants_rgb():
    with pytest.raises(ValueError, match="load_image must give RGB pictures or tensors, got a picture of mode 'L'"):
        default_transform(Image.new("L", (3, 2)))


def test_transform_sees_the_picture():
    dataset = ImageTextDataset.images(ShapesSource(10), "val", lambda picture: torch.tensor(picture.size))
    assert dataset[0].image.tolist() == [64, 64]


def test_unreadable_picture_is_named(karpathy):
    source = KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")
    (karpathy / "pictures" / "b" / "4.png").write_bytes(b"not a picture")
    with pytest.raises(UnreadableImageError, match=r"image_id 4: .*b/4\.png cannot be read as a picture: it is trunc"):
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
    with pytest.raises(
        UnreadableImageError, match=r"none of 2 images can be read; the last: image_id 5: .*5\.png cannot"
    ):
        images[0]


def test_errors_of_a_transform_are_not_skipped_and_name_the_picture():
    def broken(picture):
        raise ValueError("broken transform")

    dataset = ImageTextDataset.images(ShapesSource(10), "val", broken, torch.zeros(10, dtype=torch.bool))
    with pytest.raises(ValueError, match="broken transform") as caught:
        dataset[0]
    assert caught.value.__notes__ == ["The transform was given image 8 (image_id 8)."]
    assert caught.traceback[-1].name == "broken"


def test_transform_that_makes_no_tensor():
    dataset = ImageTextDataset.images(ShapesSource(10), "val", lambda picture: picture)
    with pytest.raises(TypeError, match=r"transforms must make tensors, got Image of image 8 \(image_id 8\): end"):
        dataset[0]


def draws(picture):
    """A transform of three libraries."""
    return torch.tensor([torch.rand(()), random.random(), np.random.rand()])  # noqa: NPY002


def test_what_a_transform_draws_is_a_function_of_seed_epoch_and_caption():
    source = ShapesSource(10)
    pairs = ImageTextDataset.pairs(source, "train", draws, seed=3)
    count = len(pairs)
    drawn = torch.stack([pairs[index].image for index in range(3 * count)])
    assert len(drawn.unique()) == drawn.numel()  # items, epochs and libraries have nothing in common
    again = ImageTextDataset.pairs(source, "train", draws, seed=3)
    for index in (2 * count + 5, 5, 7):  # in any order
        assert torch.equal(again[index].image, drawn[index])
    assert not torch.equal(ImageTextDataset.pairs(source, "train", draws, seed=4)[5].image, drawn[5])
    images = ImageTextDataset.images(source, "train", draws, seed=3)
    assert torch.equal(images[1].image, drawn[5])  # the first of an image's captions


def test_a_transform_leaves_the_global_generators_alone():
    def state():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002

    before = state()
    ImageTextDataset.pairs(ShapesSource(10), "train", draws)[3]
    assert state() == before

    def fails(picture):
        raise ValueError(str(draws(picture)))

    with pytest.raises(ValueError, match="tensor"):
        ImageTextDataset.pairs(ShapesSource(10), "train", fails)[3]
    assert state() == before


def test_a_transform_that_draws_nothing_is_called_as_it_is(monkeypatch):
    class Ones:
        draws = False

        def __call__(self, picture):
            return torch.ones(1)

    monkeypatch.setattr(random, "getstate", lambda: pytest.fail("seeded"))
    monkeypatch.setattr(np.random, "SeedSequence", lambda parts: pytest.fail("seeded"))
    for transform in (Ones(), None):  # and none, as for features
        item = ImageTextDataset.pairs(ShapesSource(10), "train", transform)[3]
        Collate(Ones())([item])


def test_iterating_ends(source):
    assert [item.image_id for item in ImageTextDataset.pairs(source, "train")] == [0, 1, 1, 2, 2, 2, 3]
