"""Rows of all processes, with gradients back to the process that made them."""

from typing import Any

import torch
from torch import Tensor, distributed


def process_count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_rank() -> int:
    """Which of the processes this is, from 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of everybody's values, without gradient."""
    total = values.detach().clone()
    if process_count() > 1:
        distributed.all_reduce(total)
    return total


def row_counts(rows: Tensor) -> list[int]:
    """How many rows each process has."""
    if process_count() == 1:
        return [len(rows)]
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(process_count())]
    distributed.all_gather(counts, torch.full((1,), len(rows), device=rows.device))
    return [int(count) for count in counts]


def own_rows(rows: Tensor) -> slice:
    """Where this process's rows stand among everybody's."""
    before = sum(row_counts(rows)[: process_rank()])
    return slice(before, before + len(rows))


def gather_rows(rows: Tensor) -> Tensor:
    """Everybody's rows, in the order of the processes, which may have different numbers of them.

    The gradient of a row is the sum of the gradients that all processes have for it. Alone, a process gets its own.

    Args:
        rows: ``(rows, ...)``, of the same type and width in all processes.
    """
    if process_count() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows, row_counts(rows))
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        before = sum(ctx.sizes[: distributed.get_rank()])
        return total[before : before + ctx.sizes[distributed.get_rank()]], None
