"""Sorted and selected entries, by the fastest way that the device has."""

import numpy as np
import torch
from torch import Tensor


def ascending(values: Tensor) -> Tensor:
    """The rows of ``values (Q, C)``, sorted; a constant."""
    values = values.detach()
    return torch.from_numpy(np.sort(values.numpy())) if _numpy_is_faster(values) else values.sort(dim=1).values


def ascending_order(values: Tensor) -> Tensor:
    """Where the entries of the sorted rows stand in ``values (Q, C)``: int64 ``(Q, C)``. Ties come in any order."""
    values = values.detach()
    return torch.from_numpy(np.argsort(values.numpy())) if _numpy_is_faster(values) else values.argsort(dim=1)


def selected(values: Tensor, mask: Tensor) -> Tensor:
    """The entries of ``values`` that a mask of the same shape marks, in order: ``(count,)``."""
    if values.device.type != "cpu":
        return values[mask]
    return torch.from_numpy(np.compress(mask.numpy().ravel(), values.numpy().ravel()))


def places_of(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every true entry of a mask ``(Q, C)``, in order."""
    if mask.device.type != "cpu":
        row, column = mask.nonzero(as_tuple=True)
        return row, column
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    return flat // mask.shape[1], flat % mask.shape[1]


def _numpy_is_faster(values: Tensor) -> bool:
    """On a CPU it sorts a row two to four times as fast as torch, but one row at a time."""
    return values.device.type == "cpu" and torch.get_num_threads() <= 2
