"""Which pairs meet in a training batch.

Both samplers draw the items from the sampler they are given and only change which of them meet: every item comes as
often as before, and there are as many batches. So they work on the part of the data that Lightning gives each process.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

from vse_lightning.data.dataset import ImageTextDataset
from vse_lightning.relevance import RelevanceTable

TRIES = 1000
GROUP = 8
POOL_BATCHES = 32


class DistinctBatchSampler(BatchSampler):
    """Batches in which no image comes twice, so that every other pair in the batch is a true negative.

    Items of an image that met by chance are exchanged with random items of other batches.

    Args:
        sampler: draws items.
        batch_size: items in a batch.
        drop_last: leave out the last, shorter batch.
        dataset: the items.

    Raises:
        ValueError: (when iterated) there are too few images to keep apart, which takes a batch size well below their
            number.
    """

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool, dataset: ImageTextDataset
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.dataset = dataset

    def __iter__(self) -> Iterator[list[int]]:
        items = torch.tensor(list(self.sampler))
        images = self.dataset.image_ids[items]
        for start in range(0, len(items), self.batch_size):
            batch = slice(start, start + self.batch_size)
            for place in (~_first_of_each(images[batch])).nonzero().flatten().tolist():
                other = self._exchange(images, start + place)
                for tensor in (items, images):
                    tensor[[start + place, other]] = tensor[[other, start + place]]
        yield from _batches(items, self.batch_size, self.drop_last)

    def _exchange(self, images: Tensor, place: int) -> int:
        """Find a place in another batch, such that neither batch has an image twice for the exchange."""
        own = self._batch_at(images, place)
        for other in torch.randint(len(images), (TRIES,)):
            fits_here = not (own == images[other]).any()
            if fits_here and not (self._batch_at(images, int(other)) == images[place]).any():
                return int(other)
        raise ValueError(
            f"batches='distinct' cannot keep captions of one image apart: batch_size {self.batch_size} is too large "
            f"for {len(set(images.tolist()))} images with {len(images)} captions"
        )

    def _batch_at(self, images: Tensor, place: int) -> Tensor:
        start = place - place % self.batch_size
        return images[start : start + self.batch_size]


class SimilarBatchSampler(BatchSampler):
    """Batches made of groups of captions that are alike, so that a graded loss sees grades.

    Among random pairs hardly any is more than a little relevant to another. Here every group of eight is an image and
    the captions of seven other images that are most relevant to it, chosen among the captions of 32 batches; the groups
    of a batch have nothing to do with each other. The captions drawn last for want of others are less alike.

    Args:
        sampler: draws items.
        batch_size: items in a batch.
        drop_last: leave out the last, shorter batch.
        dataset: the items: pairs.
        relevance: labels of the captions.
    """

    def __init__(
        self,
        sampler: Sampler[int] | Iterable[int],
        batch_size: int,
        drop_last: bool,
        dataset: ImageTextDataset,
        relevance: RelevanceTable,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.relevance = relevance

    def __iter__(self) -> Iterator[list[int]]:
        items = torch.tensor(list(self.sampler))
        for pool in torch.split(items, POOL_BATCHES * self.batch_size):
            yield from _batches(pool[self._grouped(pool)], self.batch_size, self.drop_last)

    def _grouped(self, pool: Tensor) -> Tensor:
        """The places of a pool, group after group, the groups in random order."""
        images = self.dataset.image_ids[pool]
        anchors = torch.arange(-(-len(pool) // GROUP))  # the pool is in random order: the first are as good as any
        relevance = self.relevance.block(images[anchors], self.dataset.text_ids[pool])
        free = torch.ones(len(pool), dtype=torch.bool).index_fill_(0, anchors, False)
        groups = []
        for anchor in anchors.tolist():
            # An image's own captions are no grade between 0 and 1. The best few times as many leave enough images.
            usable = relevance[anchor].masked_fill(~free | (images == images[anchor]), -1)
            best = usable.topk(min(GROUP * GROUP, len(pool)))
            ranked = best.indices[best.values >= 0]
            members = ranked[_first_of_each(images[ranked])][: GROUP - 1]
            free[members] = False
            groups.append(torch.cat([anchors[anchor, None], members]))
        groups += torch.split(free.nonzero().flatten(), GROUP)
        return torch.cat([groups[number] for number in torch.randperm(len(groups)).tolist()])


def _first_of_each(images: Tensor) -> Tensor:
    """Mark the places whose image has not come before, ``(places,)`` bool."""
    same = images[:, None] == images
    return ~same.tril(-1).any(1)


def _batches(items: Tensor, batch_size: int, drop_last: bool) -> Iterator[list[int]]:
    for batch in torch.split(items, batch_size):
        if len(batch) == batch_size or not drop_last:
            yield batch.tolist()
