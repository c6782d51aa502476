"""Which pairs meet in a training batch, and where a loader goes on in the middle of an epoch.

The samplers take the items of another sampler and only change which of them meet: every item comes as often
as before, and there are as many batches. So they work on the part of the data that Lightning gives each process. What
they draw is a function of the dataset's seed and the epoch; the global generator has no part in it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning import Trainer
from torch import Generator, Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from vse_lightning.checks import require
from vse_lightning.data.loaders.image_text_dataset import ImageTextDataset, ImageTextItem
from vse_lightning.data.loaders.seeding import seed_of
from vse_lightning.relevance import RelevanceTable

TRIES = 1000
GROUP = 8
POOL_BATCHES = 32


class RandomBatchSampler(BatchSampler):
    """Batches of random items.

    The epoch is that of the sampler, to whom Lightning tells it; where nobody does, each pass is the next one. A
    sampler that does not shuffle, which is what ``overfit_batches`` makes of it, gets the batches of epoch 0 every
    time. Each batch is a list of indices that tell the dataset the epoch too.

    The sampler is a ``DistributedSampler`` over an :class:`ImageTextDataset`, in whose place Lightning puts its own:
    the items of this process. Loaders draw before Lightning says which ``epoch`` is the first.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool, epoch: int = 0) -> None:
        super().__init__(sampler, batch_size, drop_last)
        dataset: Any = sampler.data_source if isinstance(sampler, SequentialSampler) else sampler.dataset
        self.dataset: ImageTextDataset = dataset
        self.running_epoch = epoch
        self.left_out = 0  # batches at the start of the next pass
        self._set_epoch(epoch)

    @property
    def next_epoch(self) -> int:
        """The epoch of the next pass."""
        # only distributed ones shuffle
        return self.sampler.epoch if getattr(self.sampler, "shuffle", False) else 0  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[list[int]]:
        shuffled = getattr(self.sampler, "shuffle", False)
        epoch = self.running_epoch = self.next_epoch
        left_out, self.left_out = self.left_out, 0
        generator = Generator().manual_seed(seed_of(self.dataset.seed, epoch))
        items = torch.tensor(list(self.sampler))
        self._set_epoch(epoch + 1)
        if not shuffled:
            items = items[torch.randperm(len(items), generator=generator)]
        for part in self._arranged(items, generator):
            for batch in torch.split(part, self.batch_size):
                if len(batch) < self.batch_size and self.drop_last:
                    continue
                if left_out > 0:
                    left_out -= 1
                else:
                    yield self.dataset.indices(batch, epoch)

    def _arranged(self, items: Tensor, generator: Generator) -> Iterable[Tensor]:
        """Items in random order as they are to meet, in parts of whole batches."""
        return [items]

    def _set_epoch(self, epoch: int) -> None:
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class DistinctBatchSampler(RandomBatchSampler):
    """Batches in which no image comes twice, so that every other pair in the batch is a true negative.

    Items of an image that met by chance are exchanged with random items of other batches, which takes a batch size well
    below the number of images. Arguments are those of :class:`RandomBatchSampler`.
    """

    def _arranged(self, items: Tensor, generator: Generator) -> Iterable[Tensor]:
        images = self.dataset.image_ids[items]
        for start in range(0, len(items), self.batch_size):
            batch = slice(start, start + self.batch_size)
            for place in (~_is_first(images[batch])).nonzero().flatten().tolist():
                other = self._exchange(images, start + place, generator)
                for tensor in (items, images):
                    tensor[[start + place, other]] = tensor[[other, start + place]]
        return [items]

    def _exchange(self, images: Tensor, place: int, generator: Generator) -> int:
        """Find a place in another batch, such that neither batch has an image twice for the exchange."""
        own = self._batch_at(images, place)
        for other in torch.randint(len(images), (TRIES,), generator=generator):
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


class SimilarBatchSampler(RandomBatchSampler):
    """Batches made of groups of captions that are alike, so that a graded loss sees grades.

    Among random pairs hardly any is more than a little relevant to another. Here every group of eight is an image and
    the captions of seven other images that are most relevant to it, chosen among the captions of 32 batches; the groups
    of a batch have nothing to do with each other. The captions drawn last for want of others are less alike.

    Arguments are those of :class:`RandomBatchSampler` over pairs, and ``relevance``, the labels of their captions.
    """

    def __init__(
        self, sampler: Any, batch_size: int, drop_last: bool, epoch: int = 0, *, relevance: RelevanceTable
    ) -> None:
        super().__init__(sampler, batch_size, drop_last, epoch)
        self.relevance = relevance

    def _arranged(self, items: Tensor, generator: Generator) -> Iterable[Tensor]:
        for pool in torch.split(items, POOL_BATCHES * self.batch_size):
            yield pool[self._grouped(pool, generator)]

    def _grouped(self, pool: Tensor, generator: Generator) -> Tensor:
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
            members = ranked[_is_first(images[ranked])][: GROUP - 1]
            free[members] = False
            groups.append(torch.cat([anchors[anchor, None], members]))
        groups += torch.split(free.nonzero().flatten(), GROUP)
        order = torch.randperm(len(groups), generator=generator)
        return torch.cat([groups[number] for number in order.tolist()])


class ResumableLoader(DataLoader[ImageTextItem]):
    """A loader over a :class:`RandomBatchSampler` whose state is the epoch and how many of its batches were given.

    Lightning asks for the state at a checkpoint and gives it back before training goes on.
    """

    _given = 0
    _resumes: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator: the epoch is told after iter()
        sampler: Any = self.batch_sampler
        resumes, self._resumes = self._resumes, None
        self._given = 0 if resumes is None or resumes["epoch"] != sampler.next_epoch else resumes["batches"]
        sampler.left_out = self._given
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batches of it that were given."""
        sampler: Any = self.batch_sampler
        return {"epoch": sampler.running_epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave those batches out when the same epoch is next."""
        self._resumes = state


def make_batches(
    kind: str,
    pairs: ImageTextDataset,
    batch_size: int,
    drop_last: bool,
    trainer: Trainer | None,
    relevance: RelevanceTable | None,
) -> RandomBatchSampler:
    """The batches of an epoch, from the one on that the trainer is in; ``kind`` as the data module has it."""
    progress: Any = None if trainer is None else trainer.fit_loop.epoch_progress.current
    overfit = trainer is not None and trainer.overfit_batches > 0  # type: ignore[attr-defined]
    # That of a single process; where there are several, Lightning puts its own in the place.
    sampler: Any = DistributedSampler(pairs, num_replicas=1, rank=0, shuffle=not overfit, seed=pairs.seed)
    epoch = 0 if progress is None else progress.processed
    if kind == "similar":
        require(relevance is not None, "batches='similar' needs the labels: call setup('fit') before train_dataloader")
        return SimilarBatchSampler(sampler, batch_size, drop_last, epoch, relevance=relevance)  # type: ignore[arg-type]
    return (DistinctBatchSampler if kind == "distinct" else RandomBatchSampler)(sampler, batch_size, drop_last, epoch)


def _is_first(images: Tensor) -> Tensor:
    """Mark the places whose image has not come before, ``(places,)`` bool."""
    same = images[:, None] == images
    return ~same.tril(-1).any(1)
