import pytest
import torch
from torch.utils.data import RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from vse_lightning.data import ShapesSource
from vse_lightning.data.dataset import ImageTextDataset
from vse_lightning.data.samplers import DistinctBatchSampler, SimilarBatchSampler


@pytest.fixture(scope="module")
def source():
    return ShapesSource(250)


@pytest.fixture(scope="module")
def pairs(source):
    return ImageTextDataset.pairs(source, "train")  # 200 images, 1,000 captions


def distinct(pairs, batch_size=32, drop_last=False, sampler=None):
    return DistinctBatchSampler(sampler or RandomSampler(pairs), batch_size, drop_last, pairs)


def similar(pairs, source, batch_size=32, drop_last=False, sampler=None):
    return SimilarBatchSampler(sampler or RandomSampler(pairs), batch_size, drop_last, pairs, source.relevance_table())


@pytest.mark.parametrize("kind", ["distinct", "similar"])
@pytest.mark.parametrize(("batch_size", "drop_last"), [(32, False), (32, True), (100, True), (7, False)])
def test_every_item_once_and_as_many_batches_as_promised(pairs, source, kind, batch_size, drop_last):
    make = distinct if kind == "distinct" else lambda *arguments: similar(arguments[0], source, *arguments[1:])
    sampler = make(pairs, batch_size, drop_last)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    items = [item for batch in batches for item in batch]
    assert len(items) == len(set(items))
    assert len(items) == (1000 - 1000 % batch_size if drop_last else 1000)
    assert list(sampler) != batches  # another order in each epoch


@pytest.mark.parametrize("batch_size", [2, 32, 128])
@pytest.mark.parametrize("order", [SequentialSampler, RandomSampler])
def test_no_image_twice_in_a_batch(pairs, batch_size, order):
    for batch in distinct(pairs, batch_size, sampler=order(pairs)):
        assert len(pairs.image_ids[batch].unique()) == len(batch)


def test_few_exchanges(pairs):
    torch.manual_seed(0)
    plain = torch.randperm(1000)
    batches = distinct(pairs, 32, sampler=plain.tolist())
    moved = (torch.tensor([item for batch in batches for item in batch]) != plain).sum()
    assert 0 < moved < 250  # about 2.4 of 32 meet an image of their own by chance, and each exchange moves two


def test_too_few_images_to_keep_apart(pairs):
    with pytest.raises(ValueError, match=r"batch_size 256 is too large for 200 images with 1000 captions"):
        list(distinct(pairs, 256))


def test_batches_are_more_alike_than_random_ones(pairs, source):
    table = source.relevance_table()

    def share_of_graded(batches):
        blocks = [table.block(pairs.image_ids[batch], pairs.text_ids[batch]) for batch in batches]
        return sum(float(((block > 0.45) & (block < 1)).float().mean()) for block in blocks) / len(blocks)

    torch.manual_seed(0)
    plain = torch.randperm(1000).split(32)
    assert share_of_graded(similar(pairs, source)) > 2.5 * share_of_graded(plain)


def test_groups_hold_the_most_relevant_captions(pairs, source):
    """With one batch as pool and one group, the group is the anchor and the best captions of seven other images."""
    order = torch.arange(0, 1000, 25).tolist()
    sampler = similar(pairs, source, batch_size=8, sampler=order)
    grouped = sampler._grouped(torch.tensor(order))
    assert sorted(grouped.tolist()) == list(range(40))
    start = grouped.tolist().index(0)
    images = pairs.image_ids[order]
    relevance = source.relevance_table().block(images[:1], pairs.text_ids[order])[0]
    relevance[:5] = -1  # the anchors of the five groups
    best = relevance.topk(7)
    torch.testing.assert_close(relevance[grouped[start + 1 : start + 8]], best.values)


def test_groups_have_different_images(pairs, source):
    for batch in similar(pairs, source, batch_size=8):
        assert len(pairs.image_ids[batch].unique()) >= 4


def test_part_of_one_process(pairs, source):
    parts = []
    for rank in range(2):
        sampler = DistributedSampler(pairs, num_replicas=2, rank=rank, seed=3)
        parts.append({item for batch in distinct(pairs, 32, sampler=sampler) for item in batch})
        assert len(similar(pairs, source, sampler=sampler)) == 16
    assert parts[0] | parts[1] == set(range(1000))
    assert not parts[0] & parts[1]
