"""Which captions belong to an image, and where their features are."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

SHOWN_IDS = 5


class Lookup(NamedTuple):
    """What one block of relevance is made of; the rows are rows of the features."""

    references: Tensor  # (N, K) rows of the captions of each image; short lists repeat their last caption
    reference_counts: Tensor  # (N,) how many of the K are captions, not repeats
    texts: Tensor  # (M,) row of each text
    own: Tensor  # (N, M) bool: the text is a caption of the image


class CaptionIndex:
    """Finds captions by image and by text id, for any number of captions per image and any ids.

    Args:
        image_ids: ``(M,)`` int64, the image that each caption describes.
        text_ids: ``(M,)`` int64, the id of each caption, all different; default ``0 ... M-1``. The captions of an image
            are ordered by it.
        rows: ``(M,)`` int64, the feature row of each caption; default ``0 ... M-1``. Captions may share a row.

    Raises:
        ValueError: if the lengths differ, there are no captions, or a text id occurs twice.
    """

    def __init__(self, image_ids: Tensor, text_ids: Tensor | None = None, rows: Tensor | None = None) -> None:
        image_ids = _ids("image_ids", image_ids).cpu()
        count = len(image_ids)
        text_ids = torch.arange(count) if text_ids is None else _ids("text_ids", text_ids).cpu()
        rows = torch.arange(count) if rows is None else _ids("rows", rows).cpu()
        if not count or len(text_ids) != count or len(rows) != count:
            raise ValueError(
                f"image_ids, text_ids and rows must have one entry per caption, got {count}, {len(text_ids)} and "
                f"{len(rows)}"
            )
        self._text_ids, order = text_ids.sort()
        repeated = self._text_ids[1:][self._text_ids.diff() == 0]
        if len(repeated):
            raise ValueError(f"text_ids must be all different, got {_shown(torch.unique(repeated))} more than once")
        self._image_of_text = image_ids[order]
        self._row_of_text = rows[order]
        by_image = self._image_of_text.argsort(stable=True)
        self._image_ids, self._counts = torch.unique(self._image_of_text, return_counts=True)
        self._starts = self._counts.cumsum(0) - self._counts
        self._caption_rows = self._row_of_text[by_image]

    def find(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Lookup:
        """Look up a block.

        Args:
            image_ids: ``(N,)`` int64, on the device of the index, in any order, repeats allowed.
            text_ids: ``(M,)`` int64, likewise.
            captions_per_image: how many captions of an image are references, in the order of their ids; default all.

        Raises:
            ValueError: if an id is unknown or ``captions_per_image`` is not positive.
        """
        if captions_per_image is not None and captions_per_image < 1:
            raise ValueError(f"captions_per_image must be at least 1 or None, got {captions_per_image}")
        images = _positions("image_ids", _ids("image_ids", image_ids), self._image_ids)
        texts = _positions("text_ids", _ids("text_ids", text_ids), self._text_ids)
        counts = self._counts[images]
        if captions_per_image is not None:
            counts = counts.clamp(max=captions_per_image)
        slots = torch.arange(int(counts.max()) if len(counts) else 1, device=counts.device)
        places = self._starts[images, None] + torch.minimum(slots, counts[:, None] - 1)
        own = self._image_of_text[texts] == image_ids[:, None]
        return Lookup(self._caption_rows[places], counts, self._row_of_text[texts], own)

    def each_text_alone(self) -> Self:
        """The same rows, every text the only caption of an image with its id."""
        return type(self)(self._text_ids, self._text_ids, self._row_of_text).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where ids are looked up."""
        return self._text_ids.device

    def to(self, device: torch.device | str) -> Self:
        """A copy on ``device``."""
        moved = type(self).__new__(type(self))
        moved.__dict__ = {name: tensor.to(device) for name, tensor in self.__dict__.items()}
        return moved


def _ids(name: str, ids: Tensor) -> Tensor:
    if ids.ndim != 1 or ids.is_floating_point():
        raise ValueError(f"{name} must be one row of integers, got shape {tuple(ids.shape)} of {ids.dtype}")
    return ids.long().contiguous()


def _positions(name: str, ids: Tensor, known: Tensor) -> Tensor:
    positions = torch.searchsorted(known, ids).clamp_(max=len(known) - 1)
    unknown = ids[known[positions] != ids]
    if len(unknown):
        raise ValueError(f"{name} must be in the relevance table, which knows {len(known)}; it lacks {_shown(unknown)}")
    return positions


def _shown(ids: Tensor) -> str:
    more = len(ids) - SHOWN_IDS
    return ", ".join(str(int(i)) for i in ids[:SHOWN_IDS]) + (f" and {more} more" if more > 0 else "")
