"""The processes that share the work of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """This process and the others that run the same pass over the same gallery; by default it is alone.

    Attributes:
        rank: of this process.
        count: of processes.
        group: in which they communicate; None is the world.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def of_group(cls, group: Any = None) -> Workers:
        """All processes of a ``torch.distributed`` group."""
        return cls(torch.distributed.get_rank(group), torch.distributed.get_world_size(group), group)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of ``items``: consecutive ones, so that the parts in rank order are all in order."""
        first, last = (len(items) * place // self.count for place in (self.rank, self.rank + 1))
        return items[first:last]

    def gather(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """The ``tensors`` of every process, in rank order, by two messages.

        They must be equally many, of the same types and numbers of dimensions, but may differ in size.
        """
        if self.count == 1:
            return [list(tensors)]
        device = tensors[0].device
        shapes = self._gather_alike(torch.tensor([size for tensor in tensors for size in tensor.shape], device=device))
        kinds = [(tensor.ndim, tensor.dtype) for tensor in tensors]
        sizes = [_split_shapes(shape.tolist(), kinds) for shape in shapes]
        lengths = [sum(length for _, length in of_process) for of_process in sizes]
        sent = torch.zeros(max(lengths), dtype=torch.uint8, device=device)
        sent[: lengths[self.rank]] = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])
        received = self._gather_alike(sent)
        return [_unpack(data, of_process, kinds) for data, of_process in zip(received, sizes, strict=True)]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of what every process has."""
        return torch.stack(self._gather_alike(tensor)).sum(dim=0)

    def largest(self, tensor: Tensor) -> Tensor:
        """Elementwise maximum of what every process has."""
        return torch.stack(self._gather_alike(tensor)).amax(dim=0)

    def all(self, flag: bool, device: torch.device) -> bool:
        """Whether the ``flag`` is set on every process."""
        return bool(torch.stack(self._gather_alike(torch.tensor(int(flag), device=device))).all())

    def _gather_alike(self, tensor: Tensor) -> list[Tensor]:
        if self.count == 1:
            return [tensor]
        received = [torch.empty_like(tensor) for _ in range(self.count)]
        torch.distributed.all_gather(received, tensor.contiguous(), self.group)
        return received


Kind = tuple[int, torch.dtype]
Shape = list[int]


def _split_shapes(sizes: list[int], kinds: Sequence[Kind]) -> list[tuple[Shape, int]]:
    """The shape of each tensor and its length in bytes."""
    shapes = []
    for dimensions, dtype in kinds:
        shape, sizes = sizes[:dimensions], sizes[dimensions:]
        length = dtype.itemsize
        for size in shape:
            length *= size
        shapes.append((shape, length))
    return shapes


def _unpack(data: Tensor, sizes: Sequence[tuple[Shape, int]], kinds: Sequence[Kind]) -> list[Tensor]:
    parts = torch.split(data[: sum(length for _, length in sizes)], [length for _, length in sizes])
    # A copy starts at an address that fits every type.
    return [
        part.clone().view(dtype).view(shape) for part, (shape, _), (_, dtype) in zip(parts, sizes, kinds, strict=True)
    ]
