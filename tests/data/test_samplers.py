from itertools import chain

import pytest
import torch
from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from vse_lightning.data import ShapesSource
from vse_lightning.data.loaders.image_text_dataset import ImageTextDataset
from vse_lightning.data.loaders.samplers import DistinctBatchSampler, RandomBatchSampler, SimilarBatchSampler

pytest.importorskip("PIL")

KINDS = ["random", "distinct", "similar"]


@pytest.fixture(scope="module")
def source():
    return ShapesSource(250)


@pytest.fixture(scope="module")
def pairs(source):
    return ImageTextDataset.pairs(source, "train", seed=5)  # 200 images, 1,000 captions


def make(kind, pairs, batch_size=32, drop_last=False, epoch=0, *, share=(1, 0), seed=5, shuffle=True, sampler=None):
    processes, rank = share
    if sampler is None:
        sampler = DistributedSampler(pairs, processes, rank, shuffle, seed)
    if kind == "similar":
        relevance = pairs.source.relevance_table()
        return SimilarBatchSampler(sampler, batch_size, drop_last, epoch, relevance=relevance)
    return {"random": RandomBatchSampler, "distinct": DistinctBatchSampler}[kind](sampler, batch_size, drop_last, epoch)


def drawn(sampler):
    """Batches of items and the epoch that each item's index tells the dataset."""
    count = len(sampler.dataset)
    batches = list(sampler)
    return [[index % count for index in batch] for batch in batches], {index // count for index in chain(*batches)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch_size", "drop_last"), [(32, False), (32, True), (100, True), (7, False)])
def test_every_item_once_and_as_many_batches_as_promised(pairs, kind, batch_size, drop_last):
    sampler = make(kind, pairs, batch_size, drop_last)
    batches, epochs = drawn(sampler)
    assert epochs == {0}
    assert len(batches) == len(sampler)
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    items = [item for batch in batches for item in batch]
    assert len(items) == len(set(items))
    assert len(items) == (1000 - 1000 % batch_size if drop_last else 1000)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_a_function_of_seed_and_epoch(pairs, source, kind):
    sampler = make(kind, pairs)
    passes = [drawn(sampler) for _ in range(3)]
    assert [epochs for _, epochs in passes] == [{0}, {1}, {2}]  # where nobody says the epoch, it counts for itself
    batches = [batches for batches, _ in passes]
    assert batches[0] != batches[1] != batches[2] != batches[0]

    torch.manual_seed(17)
    before = torch.get_rng_state()
    assert drawn(make(kind, pairs, epoch=2)) == passes[2]
    sampler.sampler.set_epoch(1)  # as Lightning does
    assert drawn(sampler) == passes[1]
    other = ImageTextDataset.pairs(source, "train", seed=6)
    assert drawn(make(kind, other, seed=6))[0] != batches[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_repeat_under_a_sampler_that_does_not_shuffle(pairs, kind):
    for sampler in (make(kind, pairs, shuffle=False), make(kind, pairs, sampler=SequentialSampler(pairs))):
        first, second = drawn(sampler), drawn(sampler)
        assert first == second
        assert first[1] == {0}
        assert sorted(item for batch in first[0] for item in batch) == list(range(1000))
        assert first[0][0] != sorted(first[0][0])  # still random ones


@pytest.mark.parametrize("batch_size", [2, 32, 128])
@pytest.mark.parametrize("shuffle", [True, False])
def test_no_image_twice_in_a_batch(pairs, batch_size, shuffle):
    for batch in drawn(make("distinct", pairs, batch_size, shuffle=shuffle))[0]:
        assert len(pairs.image_ids[batch].unique()) == len(batch)


def test_few_exchanges(pairs):
    plain, distinct = drawn(make("random", pairs))[0], drawn(make("distinct", pairs))[0]
    moved = (torch.tensor([*chain(*distinct)]) != torch.tensor([*chain(*plain)])).sum()
    assert 0 < moved < 250  # about 2.4 of 32 meet an image of their own by chance, and each exchange moves two


def test_too_few_images_to_keep_apart(pairs):
    with pytest.raises(ValueError, match=r"batch_size 256 is too large for 200 images with 1000 captions"):
        list(make("distinct", pairs, 256))


def test_batches_are_more_alike_than_random_ones(pairs, source):
    table = source.relevance_table()

    def share_of_graded(batches):
        blocks = [table.block(pairs.image_ids[batch], pairs.text_ids[batch]) for batch in batches]
        return sum(float(((block > 0.45) & (block < 1)).float().mean()) for block in blocks) / len(blocks)

    plain, similar = (drawn(make(kind, pairs))[0] for kind in ("random", "similar"))
    assert share_of_graded(similar) > 2.5 * share_of_graded(plain)


def test_groups_hold_the_most_relevant_captions(pairs, source):
    """With one batch as pool and one group, the group is the anchor and the best captions of seven other images."""
    order = torch.arange(0, 1000, 25).tolist()
    grouped = make("similar", pairs, 8)._grouped(torch.tensor(order), torch.Generator())
    assert sorted(grouped.tolist()) == list(range(40))
    start = grouped.tolist().index(0)
    images = pairs.image_ids[order]
    relevance = source.relevance_table().block(images[:1], pairs.text_ids[order])[0]
    relevance[:5] = -1  # the anchors of the five groups
    best = relevance.topk(7)
    torch.testing.assert_close(relevance[grouped[start + 1 : start + 8]], best.values)


def test_groups_have_different_images(pairs):
    for batch in drawn(make("similar", pairs, 8))[0]:
        assert len(pairs.image_ids[batch].unique()) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_processes_share_the_items(pairs, kind):
    parts = [drawn(make(kind, pairs, share=(2, rank)))[0] for rank in range(2)]
    assert [len(batches) for batches in parts] == [16, 16]
    assert sorted(item for batches in parts for batch in batches for item in batch) == list(range(1000))
    if kind == "random":  # together they see the batches of one process
        alone = drawn(make(kind, pairs, 64))[0]
        assert [set(first + second) for first, second in zip(*parts, strict=True)] == [set(batch) for batch in alone]
