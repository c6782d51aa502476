"""Which captions belong to an image, and where their features are."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from vse_lightning.checks import require, require_whole
from vse_lightning.targets import Ids, as_ids

SHOWN_IDS = 5


class Lookup(NamedTuple):
    """What one block of relevance is made of; the rows are rows of the features."""

    references: Tensor  # (N, K) rows of the captions of each image; short lists repeat their last caption
    reference_counts: Tensor  # (N,) how many of the K are captions, not repeats
    texts: Tensor  # (M,) row of each text
    own: Tensor  # (N, M) bool: the text is a caption of the image


class CaptionIndex:
    """Finds captions by image and by text id, for any number of captions per image and any ids.

    The arguments ``(M,)`` are those of :class:`FeatureTable`. The captions of an image are ordered by text id; captions
    may share a row.
    """

    def __init__(self, image_ids: Ids, text_ids: Ids | None = None, rows: Ids | None = None) -> None:
        images = as_ids("image_ids", image_ids).cpu()
        count = len(images)
        texts = torch.arange(count) if text_ids is None else as_ids("text_ids", text_ids).cpu()
        feature_rows = torch.arange(count) if rows is None else as_ids("rows", rows).cpu()
        counts = count, len(texts), len(feature_rows)
        message = "image_ids, text_ids and rows must have one entry per caption, got {}, {} and {}"
        require(count > 0 and len(set(counts)) == 1, message, *counts)
        self._text_ids, order = texts.sort(stable=True)
        repeated = order[1:][self._text_ids.diff() == 0]
        if len(repeated) and text_ids is not None:
            raise ValueError(f"text_ids must be all different, got {_shown(text_ids, repeated)} more than once")
        self._image_of_text = images[order]
        self._row_of_text = feature_rows[order]
        by_image = self._image_of_text.argsort(stable=True)
        self._image_ids, self._counts = torch.unique(self._image_of_text, return_counts=True)
        self._starts = self._counts.cumsum(0) - self._counts
        self._caption_rows, self._caption_ids = self._row_of_text[by_image], self._text_ids[by_image]

    def find(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Lookup:
        """Look up a block, on the device of the index; arguments and errors as of ``RelevanceTable.block``."""
        images = _positions("image_ids", image_ids, self._image_ids)
        texts = _positions("text_ids", text_ids, self._text_ids)
        places, counts = self._captions(images, captions_per_image)
        own = self._image_of_text[texts] == self._image_ids[images, None]
        return Lookup(self._caption_rows[places], counts, self._row_of_text[texts], own)

    def captions_of(self, image_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Text ids ``(N, K)`` of the captions of each image; short lists repeat their last one."""
        images = _positions("image_ids", image_ids, self._image_ids)
        return self._caption_ids[self._captions(images, captions_per_image)[0]]

    def rows(self, available: int, *, one_each: bool = False) -> Tensor:
        """The feature rows of the captions, ascending; a ``ValueError`` unless they are below ``available``.

        Args:
            available: how many rows there are.
            one_each: whether each caption has the next one, and there are no others.
        """
        rows: Tensor = torch.unique(self._row_of_text)
        first, last = int(rows[0]), int(rows[-1])
        require(first >= 0, "rows must not be negative, got {}", first)
        fits, least = (available == last + 1, "") if one_each else (available > last, "at least ")
        require(fits, "features must have {}{} rows, one per caption, got {}", least, last + 1, available)
        return rows

    def has_several_images(self) -> bool:
        """Whether there are captions of different images."""
        return len(self._image_ids) > 1

    def each_text_alone(self) -> Self:
        """The same rows, every text the only caption of an image with its id; nothing is sorted again."""
        alone = type(self).__new__(type(self))
        alone._text_ids = alone._image_of_text = alone._image_ids = alone._caption_ids = self._text_ids
        alone._row_of_text = alone._caption_rows = self._row_of_text
        alone._counts = torch.ones_like(self._text_ids)
        alone._starts = torch.arange(len(self._text_ids), device=self.device)
        return alone

    def _captions(self, images: Tensor, captions_per_image: int | None) -> tuple[Tensor, Tensor]:
        """Places ``(N, K)`` of the captions of each image, and how many of the K there are."""
        counts = self._counts[images]
        if captions_per_image is not None:
            require_whole("captions_per_image", captions_per_image)
            counts = counts.clamp(max=captions_per_image)
        slots = torch.arange(int(counts.max()) if len(counts) else 1, device=counts.device)
        return self._starts[images, None] + torch.minimum(slots, counts[:, None] - 1), counts

    @property
    def device(self) -> torch.device:
        """Where ids are looked up."""
        return self._text_ids.device

    def to(self, device: torch.device | str) -> Self:
        """A copy on ``device``."""
        moved = type(self).__new__(type(self))
        moved.__dict__ = {name: tensor.to(device) for name, tensor in self.__dict__.items()}
        return moved


def device_of(ids: Ids) -> torch.device:
    """Where ids are; lists and arrays are on the CPU."""
    return ids.device if isinstance(ids, Tensor) else torch.device("cpu")


def _positions(name: str, ids: Ids, table_ids: Tensor) -> Tensor:
    """Where ids are among the sorted ones of the table."""
    wanted = as_ids(name, ids).to(table_ids.device).contiguous()
    positions = torch.searchsorted(table_ids, wanted).clamp_(max=len(table_ids) - 1)
    unknown = (table_ids[positions] != wanted).nonzero().flatten()
    if len(unknown):
        shown = _shown(ids, unknown)
        raise ValueError(f"{name} must be in the relevance table, which knows {len(table_ids)}; it lacks {shown}")
    return positions


def _shown(ids: Ids, places: Tensor) -> str:
    """The first ids at these places, as the user wrote them."""
    named = list(dict.fromkeys(_plain(ids[place]) for place in places.tolist()))
    more = len(named) - SHOWN_IDS
    return ", ".join(map(str, named[:SHOWN_IDS])) + (f" and {more} more" if more > 0 else "")


def _plain(one: object) -> object:
    return one.item() if hasattr(one, "item") else one
