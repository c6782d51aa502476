import pytest
import torch

from vse_lightning.data import ShapesSource
from vse_lightning.data.loaders.collate import Collate
from vse_lightning.data.loaders.image_text_dataset import ImageTextDataset, ImageTextItem

pytest.importorskip("PIL")


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


def test_pictures_of_different_sizes_are_named_with_the_remedy():
    items = [ImageTextItem(torch.zeros(3, 4, size), 10 + size, ["a"], torch.tensor([0])) for size in (5, 4, 5)]
    found = (
        r"one size, got .* \(3, 4, 4\) \(image_id 14\) and \(3, 4, 5\) \(image_id 15\): resize them, by the transforms"
    )
    with pytest.raises(ValueError, match=found):
        Collate()(items)


def test_caption_that_a_text_transform_refuses_is_named(source):
    def strict(texts):
        if any("0" in text for text in texts):
            raise LookupError("no digits")
        return torch.zeros(len(texts), 1)

    items = [
        ImageTextItem(torch.zeros(1), row, [text], torch.tensor([40 + row]))
        for row, text in enumerate(["a", "b 0", "c"])
    ]
    with pytest.raises(LookupError, match="no digits") as caught:
        Collate(strict)(items)
    assert caught.value.__notes__ == ["The text transform was given caption 41: 'b 0'"]

    def needs_two(texts):
        if len(texts) > 1:
            raise ValueError("too many")
        return texts

    with pytest.raises(ValueError, match="too many") as caught:
        Collate(needs_two)(items)
    assert caught.value.__notes__ == ["The text transform was given 3 captions, none of which fails alone."]


def test_what_a_text_transform_draws_is_the_items_own(source):
    def dropped(texts):
        return torch.rand(len(texts))

    items = [ImageTextItem(torch.zeros(1), 0, ["a"], torch.tensor([0]), (0, 0, row)) for row in (3, 4)]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, second = Collate(dropped)(items)["text"], Collate(dropped)(items[::-1])["text"]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, Collate(dropped)(items)["text"])
    assert not torch.equal(first, second)
