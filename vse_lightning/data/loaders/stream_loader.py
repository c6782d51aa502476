"""The loader of a stream: batches of all workers, labels, and what a checkpoint has to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from vse_lightning.checks import require
from vse_lightning.data.loaders.collate import Collate
from vse_lightning.data.loaders.stream_batches import LeftOut, Place, StreamBatches, WorkerBatch
from vse_lightning.data.sources.streaming import StreamingSource
from vse_lightning.distributed import Processes

NAMED = 5


class StreamLoader:
    """Iterates over the training batches of a stream; Lightning asks for its state and gives it back.

    Args:
        batches: what a worker does.
        workers: how many; 0 for none beside this process.
        labels: embeds captions; the batch then has ``text_features``.
        trainer: knows which epoch is next; without one every pass is the next.

    Attributes:
        skipped: how many samples could not be read so far.
        named: some of them, with the reason.
    """

    def __init__(
        self,
        batches: StreamBatches,
        workers: int,
        labels: Callable[[list[str]], Tensor] | None = None,
        trainer: Trainer | None = None,
    ) -> None:
        self.batches, self.workers, self.labels, self.trainer = batches, workers, labels, trainer
        self._passes = 0
        self.skipped = 0
        self.named: dict[str, str] = {}
        self._resumes: dict[str, Any] | None = None
        self._state = self._state_before = self._fresh()

    def __len__(self) -> int:
        size, batch = self.batches.source.epoch_size, self.batches.batch_size * self.batches.processes
        if size is None:  # what Lightning takes for a loader of unknown length
            raise TypeError("a stream without epoch_size has no length before it ends")
        return size // batch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        resumes, self._resumes = self._resumes, None
        fresh = self._fresh()
        self._passes += 1
        self._state = self._state_before = resumes if resumes and resumes["epoch"] == fresh["epoch"] else fresh
        self.batches.epoch = self._state["epoch"]
        self.batches.places = [Place(**each) for each in self._state["places"]]
        self.batches.passing = self._state["given"] % max(1, self.workers)
        size = self.batches.source.epoch_size
        left = None if size is None else max(0, len(self) - self._state["given"])  # the epoch may be shorter now
        yield from islice(self._given(), left)
        message = "the stream must hold at least one batch of {} pairs for each worker, got none; skipped: {} {}"
        require(self._state["given"] > 0, message, self.batches.batch_size, self.skipped, self.named or "")
        self._state_before = self._state

    def state_dict(self) -> dict[str, Any]:
        """Where all workers of all processes are."""
        # Without a length, Lightning takes a batch more than it has used.
        ahead = self.trainer is not None and self.batches.source.epoch_size is None
        state = self._state_before if ahead else self._state
        return {"shape": self._shape(), "processes": Processes.of_group().gather_objects(state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there when the same epoch is next, unless the stream is shared out in another way now."""
        if state["shape"] == self._shape():
            self._resumes = state["processes"][self.batches.rank]
            return
        rank_zero_warn(
            "the stream starts the epoch again: the checkpoint knows places in "
            f"{state['shape']}, and now there are {self._shape()}"
        )

    def _given(self) -> Iterator[dict[str, Any]]:
        """Batches of all workers in turn."""
        loader: DataLoader[Any] = DataLoader(
            self.batches,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            pin_memory=_device(self.trainer).type == "cuda",
            generator=torch.Generator().manual_seed(self.batches.seed),  # the iterator would draw from the global one
        )
        made: WorkerBatch | None
        for made in loader:
            if made is None:
                continue
            self._count(made.left_out)
            if not made.batch:
                continue
            places = list(self._state["places"])
            places[made.worker] = asdict(made.place)
            self._state_before = self._state
            self._state = {**self._state, "places": places, "given": self._state["given"] + 1}
            labels = {} if self.labels is None else {"text_features": self.labels(made.captions)}
            yield made.batch | labels

    def _count(self, left_out: list[LeftOut]) -> None:
        self.skipped += len(left_out)
        for name, reason in left_out:
            if len(self.named) < NAMED:
                self.named[name] = reason

    def _fresh(self) -> dict[str, Any]:
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        epoch = self._passes if self.trainer is None else 0 if overfit else self.trainer.current_epoch
        return {"epoch": epoch, "given": 0, "places": [asdict(Place()) for _ in range(max(1, self.workers))]}

    def _shape(self) -> dict[str, int]:
        """What the place of a worker depends on."""
        made = self.batches
        return {
            "shards": made.source.num_shards,
            "processes": made.processes,
            "workers": self.workers,
            "batch_size": made.batch_size,
            "shuffle_buffer": made.source.shuffle_buffer,
            "seed": made.seed,
        }


def check_stream(source: object, batches: str, relevance: Any, batch_labels: bool) -> None:
    """Raise a ``ValueError`` where the arguments of a data module do not fit its stream, or need one."""
    if not isinstance(source, StreamingSource):
        name = type(source).__name__
        require(not batch_labels, "batch_labels=True is for a StreamingSource, got {}: leave it False", name)
        return
    require(batches == "random", "batches must be 'random' with a StreamingSource, got {!r}", batches)
    message = "relevance goes with batch_labels=True in a StreamingSource, whose captions no table holds, got {} and {}"
    name = getattr(relevance, "name", relevance)
    require((relevance is not None) == batch_labels, message, name, batch_labels)
    if batch_labels:
        embeds = hasattr(relevance, "embedder") and getattr(relevance, "rescale", "clip") == "clip"
        message = "batch_labels=True needs relevance that embeds captions, SBERTRelevance with rescale='clip', got {}"
        require(embeds, message, name)


def make_stream_loader(
    source: StreamingSource,
    batch_size: int,
    collate: Collate,
    transform: Callable[[Any], Tensor] | None,
    relevance: Any,
    workers: int,
    trainer: Trainer | None,
) -> StreamLoader:
    """The loader of this process.

    Raises:
        ValueError: there are too few shards, or the epoch has no length that all processes share, or too small a one.
    """
    processes, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
    shards, size, each = source.num_shards, source.epoch_size, max(1, workers)
    message = "{} shards are too few for {} processes x {} workers, each of which reads its own: "
    message += "make more shards or set num_workers to at most {}"
    require(shards >= processes * each, message, shards, processes, each, shards // processes)
    message = "epoch_size must say after how many pairs the {} processes end an epoch together, got None"
    require(processes == 1 or size is not None, message, processes)
    message = "epoch_size must be at least a batch of all processes, {} pairs, got {}"
    require(size is None or size >= batch_size * processes, message, batch_size * processes, size)

    batches = StreamBatches(source, batch_size, collate, transform, torch.initial_seed() % 2**63, rank, processes)
    labels = None if relevance is None else relevance.embedder(_device(trainer))
    return StreamLoader(batches, workers, labels, trainer)


def _device(trainer: Trainer | None) -> torch.device:
    return torch.device("cpu") if trainer is None else trainer.strategy.root_device


def _as_it_is(made: Any) -> Any:
    return made
