"""Small copies of pictures, and how they stand on a page."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

from vse_lightning.pages.markup import Markup, element

if TYPE_CHECKING:
    from PIL.Image import Image

_PIXELS = 176


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


def picture_element(jpeg: bytes, hint: str) -> Markup:
    """An image that the page itself holds; ``hint`` is what it says to those who cannot see it, or point at it."""
    source = "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")
    return element("img", src=source, alt=hint, title=hint, class_="picture")
