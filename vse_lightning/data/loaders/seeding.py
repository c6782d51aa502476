"""Random numbers that are a function of what they are for, whoever else draws."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_of(*parts: int) -> int:
    """A seed of 64 bits for whole numbers of at least 0, such as (seed, epoch, text row).

    Example:
        >>> seed_of(42, 0, 7) == seed_of(42, 0, 7) != seed_of(42, 1, 7)
        True
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def transformed(transform: Callable[[Any], Any], value: Any, *parts: int) -> Any:
    """What a transform makes of a value, with all that it draws a function of ``parts``, as :func:`seed_of` takes them.

    Seeding takes longer than many a transform: one whose attribute ``draws`` is False is called as it is.
    """
    if not getattr(transform, "draws", True):
        return transform(value)
    with _drawing_from(seed_of(*parts)):
        return transform(value)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Seed the generators that transforms draw from: Python's, NumPy's and PyTorch's; afterwards they are as before."""
    ours, numpys, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # not our choice
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would seed the GPUs as well
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
        torch.set_rng_state(torchs)
