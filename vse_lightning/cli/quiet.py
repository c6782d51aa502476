"""What the command spares its user: remarks of Lightning that ask for nothing."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning

_LIGHTNING = str(Path(lightning.__file__).parent)


@contextmanager
def without_remarks() -> Iterator[None]:
    """Hold back what Lightning remarks in passing (devices, tips, restored weights); its warnings stay."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(_asks_for_something)
    with warnings.catch_warnings():
        # lightning 2.6 with torch 2.15, in every fit
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        try:
            yield
        finally:
            logger.removeFilter(_asks_for_something)


def _asks_for_something(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not record.pathname.startswith(_LIGHTNING)
