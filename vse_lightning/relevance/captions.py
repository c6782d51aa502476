"""What sources are given: captions and ids, read and checked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from lightning.fabric.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.checks import require_text
from vse_lightning.targets import Ids, as_ids


class Captions(NamedTuple):
    """What :meth:`RelevanceSource.fit` and :meth:`RelevanceSource.table` are given, read and checked."""

    texts: list[str]
    image_ids: Tensor
    text_ids: Tensor | None


def read_captions(captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> Captions:
    """Captions and ids in any form, as a list of strings and int64 tensors on the CPU.

    Raises:
        ValueError: if a caption is no text, there are none, or not as many as ids.
    """
    require_text("captions", captions)
    images = as_ids("image_ids", image_ids).cpu()
    texts = None if text_ids is None else as_ids("text_ids", text_ids).cpu()
    counts = [len(captions), len(images)] + ([] if texts is None else [len(texts)])
    if not counts[0] or len(set(counts)) > 1:
        names = ("captions", "image_ids", "text_ids")
        found = ", ".join(f"{count} {name}" for count, name in zip(counts, names, strict=False))
        raise ValueError(f"captions and their ids must be as many, at least one, got {found}")
    return Captions(list(captions), images, texts)


def warn_of_unknown_words(label: str, captions: Sequence[str], rows: Sequence[int] | NDArray[np.integer]) -> None:
    """Warn of the captions in these ``rows``, which have no word known from training."""
    if len(rows):
        first = int(rows[0])
        rank_zero_warn(
            f"{label}: of {len(captions):,} captions {len(rows):,} have no word known from training, such as "
            f"{captions[first]!r} (row {first}), and can hardly be compared. If they are many: is the training split "
            "in the same language, and does tokenizer= suit it?"
        )
