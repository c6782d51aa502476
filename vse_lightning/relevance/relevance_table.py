"""What every table of labels can do."""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from lightning.fabric.utilities import rank_zero_warn
from torch import Tensor

from vse_lightning.relevance._caption_index import CaptionIndex
from vse_lightning.targets import Ids


def warn_of_nothing_to_compare(label: str, why: str) -> None:
    """Warn that the labels of a source tell nothing, and why."""
    rank_zero_warn(f"{label} finds nothing to compare, so that only matching pairs are labelled: {why}")


class RelevanceTable(ABC):
    """Serves the relevance of any images to any texts of the captions it was made from.

    It never holds the relevance of all pairs (640 GB for the captions of COCO): it keeps what describes single captions
    and compares those that a block asks for. A copy, deep or not, shares the storage.

    Attributes:
        label: where the relevance comes from, to be printed beside every value that uses it.
    """

    label: str
    _index: CaptionIndex | None = None  # of the tables here; one of your own need not have it

    @abstractmethod
    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance of images to texts.

        Args:
            image_ids: ``(N,)`` in any order, repeats allowed; a list, an array or a tensor.
            text_ids: ``(M,)`` likewise.
            captions_per_image: 1 compares a text with the first caption of each image only (the protocol of the Ladder
                loss paper), 2 with the first two, and so on; default all captions of the image that the table knows,
                in the batch or not.

        Returns:
            ``(N, M)`` float32 in [0, 1] on the device of ``image_ids``; exactly 1 where the text is a caption of the
            image.

        Raises:
            ValueError: if an id is not in the table (naming the first five), or ``captions_per_image`` is below 1.
        """

    def between_texts(self) -> Self:
        """The same labels between texts: every text is an image of its own, with itself as the only caption.

        ``table.between_texts().block(text_ids, other_text_ids)`` is the relevance of texts to other texts, for
        text-to-text retrieval.

        Raises:
            ValueError: if the table has no labels between texts; those of your own have not unless they override this.
        """
        if self._index is None:
            raise ValueError(f"{type(self).__name__} has no labels between texts, which direction='t2t' needs")
        copied = self.__copy__()
        copied._index = self._index.each_text_alone()
        return copied

    def between_images(self) -> "RelevanceTable":
        """The same labels between images: that of the image to the most relevant caption of the other one.

        ``table.between_images().block(image_ids, other_image_ids)`` is the relevance of images to other images, for
        image-to-image retrieval.

        Raises:
            ValueError: if the table does not know the captions of an image; those of your own do not unless they
                override this or :meth:`captions_of`.
        """
        return ImageTable(self)

    def captions_of(self, image_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Text ids ``(N, K)`` of the captions of images ``(N,)``; short lists repeat their last one."""
        if self._index is None:
            raise ValueError(f"{type(self).__name__} has no labels between images, which direction='i2i' needs")
        return self._index.captions_of(image_ids, captions_per_image)

    def to(self, device: torch.device | str) -> Self:
        """A table that works on ``device``; by default the table itself, for those that work on the CPU."""
        return self

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()


class ImageTable(RelevanceTable):
    """Relevance of images to images, by the labels of a table of images and texts."""

    def __init__(self, table: RelevanceTable) -> None:
        self.label, self._table = table.label, table

    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to other images, whose ids stand in the place of text ids."""
        captions = self._table.captions_of(text_ids, captions_per_image)
        best = self._table.block(image_ids, captions[:, 0], captions_per_image)
        for slot in captions.T[1:]:
            best = torch.maximum(best, self._table.block(image_ids, slot, captions_per_image))
        return best

    def to(self, device: torch.device | str) -> Self:
        """A table whose labels stay on ``device``."""
        return type(self)(self._table.to(device))
