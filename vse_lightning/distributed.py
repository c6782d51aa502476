"""Talking to the other processes, with and without gradient; no other file uses ``torch.distributed``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process and the others that run the same code on their part of the data; by default it is alone."""

    rank: int = 0
    count: int = 1
    group: Any = None  # in which they communicate; None is the world

    @classmethod
    def of_group(cls, group: Any = None) -> Processes:
        """All processes of a ``torch.distributed`` group; without one, this one alone."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(group), distributed.get_world_size(group), group)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of ``items``: consecutive ones, so that the parts in rank order are all in order."""
        first, last = (len(items) * place // self.count for place in (self.rank, self.rank + 1))
        return items[first:last]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The ``tensor`` of every process, in rank order: of one type and number of dimensions, of any size."""
        if self.count == 1:
            return [tensor]
        shapes = [shape.tolist() for shape in self.gather_alike(torch.tensor(tensor.shape, device=tensor.device))]
        sent = tensor.new_zeros(max(1, *map(prod, shapes)))
        sent[: tensor.numel()] = tensor.reshape(-1)
        everyone = zip(self.gather_alike(sent), shapes, strict=True)
        return [received[: prod(shape)].view(shape) for received, shape in everyone]

    def gather_alike(self, tensor: Tensor) -> list[Tensor]:
        """The ``tensor`` of every process, in rank order, of the same shape in all."""
        if self.count == 1:
            return [tensor]
        received = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.count)]
        distributed.all_gather(received, tensor.contiguous(), self.group)
        return received

    def gather_objects(self, thing: T) -> list[T]:
        """The ``thing`` of every process, in rank order, by pickling."""
        everyone: list[Any] = [thing] * self.count
        if self.count > 1:
            distributed.all_gather_object(everyone, thing, self.group)
        return everyone

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of what every process has, without gradient."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        if self.count > 1:
            distributed.all_reduce(total, group=self.group)
        return total

    def largest(self, tensor: Tensor) -> Tensor:
        """Elementwise maximum of what every process has."""
        return torch.stack(self.gather_alike(tensor)).amax(dim=0)

    def all(self, flag: bool, device: torch.device) -> bool:
        """Whether the ``flag`` is set on every process."""
        return bool(torch.stack(self.gather_alike(torch.tensor(int(flag), device=device))).all())


def process_count() -> int:
    """How many processes train together."""
    return Processes.of_group().count


def process_rank() -> int:
    """Which of the processes this is, from 0."""
    return Processes.of_group().rank


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of everybody's values, without gradient."""
    return Processes.of_group().sum(values)


def own_rows(rows: Tensor) -> slice:
    """Where this process's rows stand among everybody's."""
    everyone = Processes.of_group()
    counts = everyone.gather_alike(torch.tensor(len(rows), device=rows.device))
    before = sum(map(int, counts[: everyone.rank]))
    return slice(before, before + len(rows))


def gather_rows(rows: Tensor) -> Tensor:
    """Everybody's rows, in the order of the processes, which may have different numbers of them.

    The gradient of a row is the sum of the gradients that all processes have for it. Alone, a process gets its own.
    """
    everyone = Processes.of_group()
    if everyone.count == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows, everyone)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, everyone: Processes) -> Tensor:
        parts = everyone.gather(rows)
        before = sum(len(part) for part in parts[: everyone.rank])
        ctx.everyone, ctx.own = everyone, slice(before, before + len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.everyone.sum(gradient)[ctx.own], None
