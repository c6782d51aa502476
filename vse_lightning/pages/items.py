"""Pictures and captions as they are shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from vse_lightning.data import ImageTextSource

_PIXELS = 176


class Items:
    """Captions by text id, none where nobody knows what they say, and numbers in place of what is not known."""

    def __init__(self, captions: Sequence[str], text_image_ids: Tensor) -> None:
        self._captions, self._text_image_ids = captions, text_image_ids

    def caption(self, text_id: int) -> str:
        """A caption."""
        return self._captions[text_id] if self._captions else f"text {text_id}"

    def captions_of(self, image_id: int) -> list[str]:
        """All captions of an image."""
        return [self.caption(text_id) for text_id in self._texts_of_images.get(image_id, ())]

    def name(self, image_id: int) -> str:
        """What an image is called."""
        return f"image {image_id}"

    def picture(self, image_id: int) -> Image | None:
        """A small copy of a picture, if there is one."""
        return None

    def jpeg(self, image_id: int) -> bytes | None:
        """The same as a file."""
        return None

    @cached_property
    def _texts_of_images(self) -> dict[int, list[int]]:
        texts: dict[int, list[int]] = {}
        for text_id, image_id in enumerate(self._text_image_ids.tolist()):
            texts.setdefault(image_id, []).append(text_id)
        return texts


class SourceItems(Items):
    """The images and captions of a source; of one with features, names and captions stand in for pictures."""

    def __init__(self, source: ImageTextSource) -> None:
        super().__init__(source.captions, source.text_image_ids)
        self._source = source
        self._jpegs: dict[int, bytes | None] = {}

    def name(self, image_id: int) -> str:
        """What the source calls an image."""
        return self._source.image_name(image_id)

    def picture(self, image_id: int) -> Image | None:
        """A small copy of a picture, or None where the source has features."""
        picture = self._source.load_image(image_id)
        return None if isinstance(picture, Tensor) else thumbnail(picture)

    def jpeg(self, image_id: int) -> bytes | None:
        """The same as a file."""
        if image_id not in self._jpegs:
            small = self.picture(image_id)
            self._jpegs[image_id] = None if small is None else jpeg_of(small)
        return self._jpegs[image_id]


def thumbnail(picture: Image) -> Image:
    """A small RGB copy of a picture."""
    small = picture.convert("RGB")
    small.thumbnail((_PIXELS, _PIXELS))
    return small


def jpeg_of(thumbnail: Image) -> bytes:
    """A thumbnail as a file."""
    jpeg = BytesIO()
    thumbnail.save(jpeg, "JPEG", quality=80, optimize=True)
    return jpeg.getvalue()
