"""Where images and captions come from, seen by everything that reads them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from warnings import warn

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_text, require_whole
from vse_lightning.relevance import RelevanceTable

if TYPE_CHECKING:
    from PIL.Image import Image

STANDARD_NAMES = {"validation": "val", "valid": "val", "dev": "val", "restval": "train"}


class ImageTextSource(ABC):
    """Images, the captions that describe them, and the split that each image belongs to.

    An ``image_id`` is the row number of an image over the whole source, all splits, in source order; a ``text_id`` the
    row number of a caption. A source of your own calls this constructor and implements :meth:`load_image`; it travels
    to the workers, so keep open files out of its state.

    Args:
        captions: all captions; the row number is the ``text_id``.
        text_image_ids: ``(number of captions,)`` int64, the image that each caption describes.
        splits: split name -> int64 image ids. An image is in one split at most; one that is in none is never read.
        num_images: how many images there are; ids run from 0 to ``num_images - 1``.
        image_names: what messages call each image, such as its file name; default ``"image 17"``.
        image_checksums: what tells the contents of pictures apart, where it costs nothing to know: pictures of
            evaluation that are in ``train`` too get a warning, as those of one name do.

    Attributes:
        captions_per_image: ``(num_images,)`` int64, how many captions each image has.

    Raises:
        ValueError: an image without captions, a caption that is blank or no text, no split or an empty one, an image
            in two splits, or an id that no image has.
    """

    @typed
    def __init__(
        self,
        captions: Sequence[str],
        text_image_ids: Tensor,
        splits: Mapping[str, Tensor],
        num_images: int,
        image_names: Sequence[str] | None = None,
        image_checksums: Sequence[int] | None = None,
    ) -> None:
        require_whole("num_images", num_images)
        for name, image_ids in splits.items():
            is_ids = isinstance(image_ids, Tensor) and image_ids.dtype == torch.int64
            require(is_ids, "splits must be int64 tensors of image ids, got {!r} for {!r}", image_ids, name)
        named = num_images if image_names is None else len(image_names)
        require(named == num_images, "image_names must name each of the {} images, got {} names", num_images, named)
        self.captions = list(captions)
        self.text_image_ids = text_image_ids
        self.splits = dict(splits)
        self.num_images = num_images
        self._image_names = image_names
        self._image_checksums = image_checksums
        self._check_captions()
        self._check_splits()
        self._warn_of_leaks()
        self._captions_by_image = text_image_ids.argsort(stable=True)
        self._first_caption = self.captions_per_image.cumsum(0) - self.captions_per_image

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of captions, images' ids and names, checksums and splits; not of pictures that have no checksum."""
        digest = sha256()
        for part in (self.captions, self._image_names, self._image_checksums):
            digest.update(json.dumps(part).encode("utf-8", "surrogatepass"))
        digest.update(self.text_image_ids.numpy().tobytes())
        for name, image_ids in sorted(self.splits.items()):
            digest.update(name.encode() + image_ids.numpy().tobytes())
        return digest.hexdigest()

    @abstractmethod
    def load_image(self, image_id: int) -> Image | Tensor:
        """Read one image: an RGB picture, or a float32 tensor of features."""

    def relevance_table(self) -> RelevanceTable:
        """Graded labels that the source itself knows, for ``relevance="source"`` of the data module.

        Raises:
            ValueError: this source knows none, which is the rule: labels are then derived from the captions.
        """
        raise ValueError(
            f"{type(self).__name__} knows no graded relevance of its own: instead of 'source', give a RelevanceSource "
            "that derives it from the captions, such as SBERTRelevance"
        )

    def split(self, name: str) -> Tensor:
        """Image ids of a split, ``(number of images in it,)`` int64, in source order.

        Raises:
            ValueError: there is no such split; the message names those that there are.
        """
        require(name in self.splits, "split must be one of {}, got {!r}", sorted(self.splits), name)
        return self.splits[name]

    def text_ids(self, image_ids: Tensor) -> Tensor:
        """Ids of all captions of these images, image by image, those of one image in source order."""
        counts = self.captions_per_image[image_ids]
        starts = self._first_caption[image_ids] - (counts.cumsum(0) - counts)
        return self._captions_by_image[starts.repeat_interleave(counts) + torch.arange(int(counts.sum()))]

    def image_name(self, image_id: int) -> str:
        """What messages call this image."""
        return f"image {image_id}" if self._image_names is None else self._image_names[image_id]

    def _check_captions(self) -> None:
        ids, count = self.text_image_ids, len(self.captions)
        fits = ids.shape == (count,) and ids.dtype == torch.int64
        message = "text_image_ids must be int64 with one entry for each of the {} captions, got {} of shape {}"
        require(fits, message, count, ids.dtype, tuple(ids.shape))
        self._check_ids("text_image_ids", ids)
        require_text("captions", self.captions)
        for text_id, caption in enumerate(self.captions):
            if not caption.strip():
                name = self.image_name(int(ids[text_id]))
                raise ValueError(f"captions must not be empty, got {caption!r} for {name} (caption {text_id})")
        self.captions_per_image = torch.bincount(ids, minlength=self.num_images)
        bare = (self.captions_per_image == 0).nonzero().flatten().tolist()
        named = ", ".join(map(self.image_name, bare[:5])) + (f" and {len(bare) - 5} more" if len(bare) > 5 else "")
        require(not bare, "every image needs at least one caption; without one: {}", named)

    def _warn_of_leaks(self) -> None:
        """Say how many pictures of evaluation are among those of training, by their names or their contents."""
        train_ids = self.splits.get("train", torch.empty(0)).tolist()
        known: dict[str, Sequence[Any] | None] = {"name": self._image_names, "content": self._image_checksums}
        for told, keys in known.items():
            train = {keys[image_id] for image_id in train_ids if keys is not None}
            for split in self.splits.keys() & {"val", "test"} if train else ():
                image_ids = self.splits[split].tolist()
                leaked = [self.image_name(image_id) for image_id in image_ids if keys and keys[image_id] in train]
                if leaked:
                    counted = f"{len(leaked)} of the {len(image_ids)} pictures of the split {split!r}"
                    shown = f"{counted} are in 'train' too, by {told}: {', '.join(leaked[:3])}"
                    warn(f"{shown}. What is measured was partly trained on", stacklevel=3)

    def _check_splits(self) -> None:
        require(bool(self.splits), "splits must name at least one split, got none")
        names, owner = list(self.splits), torch.full((self.num_images,), -1)
        for number, (name, image_ids) in enumerate(self.splits.items()):
            require(image_ids.numel() > 0, "split {!r} has no images", name)
            self._check_ids(f"split {name!r}", image_ids)
            for image_id in image_ids[owner[image_ids] >= 0][:1].tolist():
                raise ValueError(
                    f"an image must be in one split only, got {self.image_name(image_id)} in "
                    f"{names[int(owner[image_id])]!r} and {name!r}"
                )
            owner[image_ids] = number

    def _check_ids(self, what: str, image_ids: Tensor) -> None:
        outside = image_ids[(image_ids < 0) | (image_ids >= self.num_images)][:1].tolist()
        message = "{}: image ids must be 0 to {} (the source has {} images), got {}"
        require(not outside, message, what, self.num_images - 1, self.num_images, *outside)


def group_by_split(split_of_image: Sequence[str]) -> dict[str, Tensor]:
    """Image ids of each split, under the names ``train``, ``val`` and ``test`` where a data set has others for them.

    Example:
        >>> group_by_split(["train", "validation", "restval"])
        {'train': tensor([0, 2]), 'val': tensor([1])}
    """
    splits: dict[str, list[int]] = {}
    for image_id, name in enumerate(split_of_image):
        splits.setdefault(STANDARD_NAMES.get(name, name), []).append(image_id)
    return {name: torch.tensor(image_ids) for name, image_ids in splits.items()}
