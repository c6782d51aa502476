import pytest
import torch

from vse_lightning.data import ShapesSource
from vse_lightning.data.collate import Collate
from vse_lightning.data.dataset import ImageTextDataset, Item


@pytest.fixture(scope="module")
def source():
    return ShapesSource(20)


def test_evaluation_batch(source):
    images = ImageTextDataset.images(source, "val")
    batch = Collate()([images[0], images[1]])
    assert batch.keys() == {"image", "text", "image_ids", "text_ids", "text_image_ids"}
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["text"] == source.captions[80:90]
    assert batch["image_ids"].tolist() == [16, 17]
    assert batch["text_ids"].tolist() == list(range(80, 90))
    assert batch["text_image_ids"].tolist() == [16] * 5 + [17] * 5


def test_relevance_is_the_block_of_the_table(source):
    pairs = ImageTextDataset.pairs(source, "train")
    table = source.relevance_table()
    batch = Collate(relevance=table)([pairs[0], pairs[3], pairs[40]])
    torch.testing.assert_close(batch["relevance"], table.block(batch["image_ids"], batch["text_ids"]))
    assert batch["relevance"].diag().tolist() == [1.0, 1.0, 1.0]
    assert batch["relevance"][0, 1] == 1  # two captions of one image


def test_text_transform_gets_all_captions_at_once(source):
    images = ImageTextDataset.images(source, "val")
    batch = Collate(text=lambda texts: torch.tensor([len(text) for text in texts]))([images[0]])
    assert batch["text"].tolist() == [len(caption) for caption in source.captions[80:85]]


def test_pictures_of_different_sizes_name_the_remedy():
    items = [Item(torch.zeros(3, 4, size), 0, ["a"], torch.tensor([0])) for size in (4, 5)]
    with pytest.raises(
        ValueError, match=r"one size, got .* \(3, 4, 4\) and \(3, 4, 5\): resize them, by the transforms"
    ):
        Collate()(items)
