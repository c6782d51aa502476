"""Building a model whose weights come later from a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_RESTORING: ContextVar[bool] = ContextVar("restoring", default=False)


@contextmanager
def restoring() -> Iterator[None]:
    """Declare that the weights of every encoder built inside come from a checkpoint.

    An encoder built inside loads no pretrained weights and touches neither the network nor the folder that it was
    first made from: what it cannot know without them (a Hugging Face config, a tokenizer, a vocabulary) it takes from
    the checkpoint in ``load_state_dict``. Until then it cannot encode.

    Example:
        >>> with restoring():
        ...     is_restoring()
        True
        >>> is_restoring()
        False
    """
    token = _RESTORING.set(True)
    try:
        yield
    finally:
        _RESTORING.reset(token)


def is_restoring() -> bool:
    """Whether the code runs inside :func:`restoring`."""
    return _RESTORING.get()
