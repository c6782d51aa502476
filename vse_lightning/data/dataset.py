"""What a loader reads: a source seen as items, either pairs or whole images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vse_lightning.data.source import ImageTextSource


class Item(NamedTuple):
    """One image with the captions that go with it into the batch."""

    image: Tensor
    image_id: int
    texts: list[str]
    text_ids: Tensor


class ImageTextDataset(Dataset[Item]):
    """Items of some images of a source: :meth:`pairs` for training, :meth:`images` for evaluation.

    Args:
        source: where images and captions come from.
        transform: picture (or feature tensor) to tensor; None for :func:`default_transform`.
        image_ids: ``(items,)``, the image of each item.
        text_ids: ``(sum of counts,)``, the captions of all items, item by item.
        counts: ``(items,)``, how many captions each item has.
        skipped: ``(num_images,)`` bool in shared memory: marks images that cannot be read, in whose place the next item
            comes; None: they are an error.
    """

    def __init__(
        self,
        source: ImageTextSource,
        transform: Callable[[Any], Tensor] | None,
        image_ids: Tensor,
        text_ids: Tensor,
        counts: Tensor,
        skipped: Tensor | None = None,
    ) -> None:
        self.source = source
        self.transform = transform or default_transform
        self.image_ids = image_ids
        self.text_ids = text_ids
        self.skipped = skipped
        self._ends = counts.cumsum(0)

    @classmethod
    def pairs(
        cls,
        source: ImageTextSource,
        split: str,
        transform: Callable[[Any], Tensor] | None = None,
        skipped: Tensor | None = None,
    ) -> ImageTextDataset:
        """One item for each caption of a split, with its image."""
        text_ids = source.text_ids(source.split(split))
        return cls(source, transform, source.text_image_ids[text_ids], text_ids, torch.ones_like(text_ids), skipped)

    @classmethod
    def images(
        cls,
        source: ImageTextSource,
        split: str,
        transform: Callable[[Any], Tensor] | None = None,
        skipped: Tensor | None = None,
    ) -> ImageTextDataset:
        """One item for each image of a split, with all its captions."""
        image_ids = source.split(split)
        counts = source.captions_per_image[image_ids]
        return cls(source, transform, image_ids, source.text_ids(image_ids), counts, skipped)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Item:
        if self.skipped is None:
            return self._item(index)
        for candidate in chain(range(index, len(self)), range(index)):
            if not self.skipped[self.image_ids[candidate]]:
                try:
                    return self._item(candidate)
                except UnreadableImageError:
                    self.skipped[self.image_ids[candidate]] = True
        raise UnreadableImageError(f"none of {len(set(self.image_ids.tolist()))} images can be read")

    def _item(self, index: int) -> Item:
        image_id = int(self.image_ids[index])
        try:
            image = self.source.load_image(image_id)
        except Exception as error:
            name = self.source.image_name(image_id)
            raise UnreadableImageError(f"{name} (image_id {image_id}) cannot be read: {error}") from error
        text_ids = self.text_ids[int(self._ends[index - 1]) if index else 0 : int(self._ends[index])]
        texts = [self.source.captions[text_id] for text_id in text_ids.tolist()]
        return Item(self.transform(image), image_id, texts, text_ids)


class UnreadableImageError(RuntimeError):
    """An image of the source cannot be read."""


def default_transform(image: Any) -> Tensor:
    """A picture as a float32 tensor ``(3, H, W)`` in [0, 1]; a tensor as it is."""
    if isinstance(image, Tensor):
        return image
    width, height = image.size
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(height, width, 3).permute(2, 0, 1).float() / 255
