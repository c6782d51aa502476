"""Matrix products as precise as their type, whatever training allows itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Switch off autocast, TF32 and bfloat16 products: they would change ranks."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        try:
            precision = torch.get_float32_matmul_precision()
        except RuntimeError:  # set for single backends, which this interface refuses to read: the user's choice
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
