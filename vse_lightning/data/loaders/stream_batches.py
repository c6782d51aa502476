"""Training batches of a stream, as one worker makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from vse_lightning.data.loaders.collate import Collate
from vse_lightning.data.loaders.image_text_dataset import ImageTextItem, transformed_image
from vse_lightning.data.loaders.seeding import seed_of
from vse_lightning.data.sources.streaming import DamagedSampleError, StreamingSource, name_of, text_id_of


@dataclass(frozen=True)
class Place:
    """Where a worker is in its shards.

    Attributes:
        turn: how often it has been through them in this epoch.
        dataset: the state of the stream before the running block; None before the first.
        block: number of the block in the turn.
        given: pairs of the block that are done.
        useful: whether the turn gave a pair yet.
    """

    turn: int = 0
    dataset: dict[str, Any] | None = None
    block: int = 0
    given: int = 0
    useful: bool = False


LeftOut = tuple[str, str]
"""Name of a sample, which others may have too, and why it cannot be read."""


class WorkerBatch(NamedTuple):
    """A batch with its captions, where its worker is behind it, and what was left out on the way."""

    batch: dict[str, Any]
    captions: list[str]
    worker: int
    place: Place
    left_out: list[LeftOut]


class StreamBatches(IterableDataset[WorkerBatch]):
    """Full batches of the shards of one worker.

    A shuffle buffer would lose what it holds when training is interrupted. So samples are taken in blocks of
    ``source.shuffle_buffer``, the pairs of a block in an order drawn for it: whoever goes on reads the block again.

    Args:
        source: the stream.
        batch_size: pairs in a batch.
        collate: items to a batch.
        transform: picture (or feature tensor) to tensor; None for the default.
        seed: of order and transforms.
        rank: of this process.
        processes: that share the stream.

    Attributes:
        epoch: to be set before the workers start, and so are
        places: where each worker goes on; empty at the beginning of an epoch.
        passing: workers before this one have given a batch more, and so let the others go first.
    """

    def __init__(
        self,
        source: StreamingSource,
        batch_size: int,
        collate: Collate,
        transform: Callable[[Any], Tensor] | None,
        seed: int,
        rank: int,
        processes: int,
    ) -> None:
        self.source, self.batch_size, self.collate, self.transform = source, batch_size, collate, transform
        self.seed, self.rank, self.processes = seed, rank, processes
        self.epoch, self.passing = 0, 0
        self.places: list[Place] = []

    def __iter__(self) -> Iterator[WorkerBatch | None]:  # type: ignore[override]  # None is nothing, and a turn taken
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if worker < self.passing:
            yield None
        part = self.rank * workers + worker
        items: list[ImageTextItem] = []
        left_out: list[LeftOut] = []
        for item, place in self._items(part, self.processes * workers, self.places[worker] if self.places else Place()):
            if isinstance(item, ImageTextItem):
                items.append(item)
            else:
                left_out += item
            if len(items) == self.batch_size:
                captions = [text for each in items for text in each.texts]
                yield WorkerBatch(self.collate(items), captions, worker, place, left_out)
                items, left_out = [], []
        if left_out:
            yield WorkerBatch({}, [], worker, Place(), left_out)

    def _items(self, part: int, parts: int, place: Place) -> Iterator[tuple[ImageTextItem | list[LeftOut], Place]]:
        """Items and names of samples that give none, each with the place behind it."""
        last: ImageTextItem | list[LeftOut] = []
        for turn in count(place.turn) if self.source.epoch_size else (0,):
            stream = self.source.samples(part, parts, seed_of(self.seed, self.epoch, turn))
            if place.dataset is not None:
                stream.load_state_dict(place.dataset)
            else:
                place = replace(place, dataset=stream.state_dict())
            for block in stream.iter(self.source.shuffle_buffer):
                after = stream.state_dict()
                samples = [dict(zip(block, values, strict=True)) for values in zip(*block.values(), strict=True)]
                for item, given in self._items_of(samples, (self.epoch, turn, part, place.block), place.given):
                    place = replace(place, given=given, useful=place.useful or isinstance(item, ImageTextItem))
                    last = item
                    yield item, place
                place = Place(turn, after, place.block + 1, 0, place.useful)
            if self.source.epoch_size and not place.useful:  # it would look for ever
                raise DamagedSampleError(f"no sample can be read in the shards of part {part} of {parts}: {last}")
            place = Place(turn + 1)

    def _items_of(
        self, samples: list[dict[str, Any]], numbers: tuple[int, ...], given: int
    ) -> Iterator[tuple[ImageTextItem | list[LeftOut], int]]:
        pairs: list[tuple[dict[str, Any], str]] = []
        damaged: list[LeftOut] = []
        for sample in samples:
            try:
                pairs += [(sample, caption) for caption in self.source.captions_of(sample)]
            except DamagedSampleError as error:
                damaged.append((name_of(sample), str(error)))
        if damaged and given == 0:
            yield damaged, 0
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed_of(self.seed, *numbers)))
        torn: set[int] = set()
        for place, number in enumerate(order.tolist()[given:], given + 1):
            sample, caption = pairs[number]
            if id(sample) in torn:  # each of its captions would count it again
                yield [], place
                continue
            try:
                yield self._item(sample, caption), place
            except DamagedSampleError as error:
                torn.add(id(sample))
                yield [(name_of(sample), str(error))], place

    def _item(self, sample: dict[str, Any], caption: str) -> ImageTextItem:
        image, image_id = self.source.image_of(sample)
        text_id = text_id_of(image_id, caption)
        seed = self.seed, self.epoch, text_id
        tensor = transformed_image(self.transform, image, name_of(sample), seed)
        return ImageTextItem(tensor, image_id, [caption], torch.tensor([text_id]), seed)
