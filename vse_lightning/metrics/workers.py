"""The processes that share the work of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

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

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """What every process has, in rank order; sizes may differ."""
        if self.count == 1:
            return [tensor]
        gathered: list[Tensor] = gather_all_tensors(tensor, self.group)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of what every process has."""
        return torch.stack(self.gather(tensor)).sum(dim=0)

    def largest(self, tensor: Tensor) -> Tensor:
        """Elementwise maximum of what every process has."""
        return torch.stack(self.gather(tensor)).amax(dim=0)
