"""What a loader reads: a source seen as items, either pairs or whole images."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vse_lightning.checks import require
from vse_lightning.data.files.decoding import UnreadableImageError
from vse_lightning.data.loaders.seeding import transformed
from vse_lightning.data.sources.image_text_source import ImageTextSource


class ImageTextItem(NamedTuple):
    """One image with the captions that go with it into the batch; ``seed`` is of what the text transform draws."""

    image: Tensor
    image_id: int
    texts: list[str]
    text_ids: Tensor
    seed: tuple[int, ...] = (0,)


class ImageTextDataset(Dataset[ImageTextItem]):
    """Items of the images of a split: :meth:`pairs` for training, :meth:`images` for evaluation.

    What the transform draws from the generators of Python, NumPy and PyTorch is a function of the seed, the epoch and
    the item's (first) text id. The epoch is in the index: ``epoch * len(dataset) + item``, as :meth:`indices` makes it.

    Args:
        source: where images and captions come from.
        image_ids: ``(items,)``.
        text_ids: ``(sum of counts,)``, the captions of all items, item by item.
        counts: ``(items,)``, of captions.
        transform: picture (or feature tensor) to tensor; None for :func:`default_transform`.
        skipped: ``(num_images,)`` bool in shared memory: marks images that cannot be read, in whose place the next item
            comes; None: they are an error.
        seed: of the transform.
    """

    def __init__(
        self,
        source: ImageTextSource,
        image_ids: Tensor,
        text_ids: Tensor,
        counts: Tensor,
        transform: Callable[[Any], Tensor] | None = None,
        skipped: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.image_ids = image_ids
        self.text_ids = text_ids
        self.transform = transform
        self.skipped = skipped
        self.seed = seed
        self._ends = counts.cumsum(0)

    @classmethod
    def pairs(cls, source: ImageTextSource, split: str, *options: Any, **named_options: Any) -> Self:
        """One item for each caption of a split, with its image; options are the arguments from ``transform`` on."""
        text_ids = source.text_ids(source.split(split))
        image_ids = source.text_image_ids[text_ids]
        return cls(source, image_ids, text_ids, torch.ones_like(text_ids), *options, **named_options)

    @classmethod
    def images(cls, source: ImageTextSource, split: str, *options: Any, **named_options: Any) -> Self:
        """One item for each image of a split, with all its captions; options likewise."""
        image_ids = source.split(split)
        counts = source.captions_per_image[image_ids]
        return cls(source, image_ids, source.text_ids(image_ids), counts, *options, **named_options)

    def indices(self, items: Tensor, epoch: int) -> list[int]:
        """What to ask for to get the items as they are in an epoch."""
        return (epoch * len(self) + items).tolist()

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[ImageTextItem]:  # indices have no end
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> ImageTextItem:
        epoch, item = divmod(index, len(self))
        if self.skipped is None:
            return self._item(item, epoch)
        reason: Exception | None = None
        for candidate in chain(range(item, len(self)), range(item)):
            if not self.skipped[self.image_ids[candidate]]:
                try:
                    return self._item(candidate, epoch)
                except UnreadableImageError as error:
                    self.skipped[self.image_ids[candidate]] = True
                    reason = error
        last = f"; the last: {reason}" if reason else ""
        raise UnreadableImageError(f"none of {len(set(self.image_ids.tolist()))} images can be read{last}") from reason

    def _item(self, item: int, epoch: int) -> ImageTextItem:
        image_id = int(self.image_ids[item])
        try:
            image = self.source.load_image(image_id)
        except UnreadableImageError as error:  # names its file
            raise UnreadableImageError(f"image_id {image_id}: {error}") from error
        except Exception as error:
            raise UnreadableImageError(f"{self._name(image_id)} cannot be read: {error}") from error
        text_ids = self.text_ids[int(self._ends[item - 1]) if item else 0 : int(self._ends[item])]
        texts = [self.source.captions[text_id] for text_id in text_ids.tolist()]
        seed = self.seed, epoch, int(text_ids[0])
        tensor = transformed_image(self.transform, image, self._name(image_id), seed)
        return ImageTextItem(tensor, image_id, texts, text_ids, seed)

    def _name(self, image_id: int) -> str:
        return f"{self.source.image_name(image_id)} (image_id {image_id})"


def transformed_image(
    transform: Callable[[Any], Tensor] | None, image: Any, name: str, seed: tuple[int, ...]
) -> Tensor:
    """The tensor of a picture or of features, which messages call ``name``; ``seed`` is of what the transform draws."""
    if transform is None:
        return default_transform(image)
    try:
        tensor = transformed(transform, image, *seed)
    except Exception as error:
        error.add_note(f"The transform was given {name}.")
        raise
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"transforms must make tensors, got {type(tensor).__name__} of {name}: end them with torchvision's "
            "ToTensor or the like"
        )
    return tensor


def default_transform(image: Any) -> Tensor:
    """A picture as a float32 tensor ``(3, H, W)`` in [0, 1]; a tensor as it is."""
    if isinstance(image, Tensor):
        return image
    require(image.mode == "RGB", "load_image must give RGB pictures or tensors, got a picture of mode {!r}", image.mode)
    width, height = image.size
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(height, width, 3).permute(2, 0, 1).float() / 255
