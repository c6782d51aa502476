"""Pictures and captions as they appear on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vse_lightning.data import ImageTextSource
from vse_lightning.pages.markup import Markup, element, join
from vse_lightning.pages.thumbnails import jpeg_of, picture_element, thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image


class Items:
    """The images and captions of a source, to look at.

    A source of features has no pictures: the name of an image and its captions stand in for one.

    Args:
        source: where pictures and captions are read.
    """

    def __init__(self, source: ImageTextSource) -> None:
        self._source = source
        self._shown: dict[int, Markup | None] = {}

    def caption(self, text_id: int) -> str:
        """A caption."""
        return self._source.captions[text_id]

    def captions_of(self, image_id: int) -> list[str]:
        """All captions of an image."""
        return [self.caption(text_id) for text_id in self._source.text_ids(torch.tensor([image_id])).tolist()]

    def name(self, image_id: int) -> str:
        """What the source calls an image."""
        return self._source.image_name(image_id)

    def image(self, image_id: int) -> Markup | None:
        """A thumbnail, or None where the source has features."""
        if image_id not in self._shown:
            self._shown[image_id] = self._show(image_id)
        return self._shown[image_id]

    def description(self, image_id: int) -> Markup:
        """What stands in for a picture: its captions, all but the first folded away, and its name."""
        first, *others = self.captions_of(image_id)
        summary = join(first, " ", element("small", self.name(image_id)))
        if not others:
            return element("p", summary)
        listed = element("ul", *(element("li", caption) for caption in others))
        return element("details", element("summary", summary), listed)

    def thumbnail(self, image_id: int) -> Image | None:
        """A small copy of a picture, or None where the source has features."""
        picture = self._source.load_image(image_id)
        if isinstance(picture, Tensor):
            return None
        return thumbnail(picture)

    def _show(self, image_id: int) -> Markup | None:
        small = self.thumbnail(image_id)
        if small is None:
            return None
        return picture_element(jpeg_of(small), f"{self.name(image_id)}: {self.captions_of(image_id)[0]}")
