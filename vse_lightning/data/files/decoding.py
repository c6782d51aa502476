"""One reader of pictures: whatever a file holds comes out as the 8-bit RGB that a person would see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING

import numpy as np

from vse_lightning.checks import require

if TYPE_CHECKING:
    from PIL.Image import Image

BITS_PER_SAMPLE, PHOTOMETRIC, MIN_IS_WHITE = 258, 262, 0  # tags of TIFF, and a value of the second
SCALED_BY_READER = {"PNG", "PPM"}  # whatever their depth, Pillow's wide integers then run to 65535
ROUNDING = 1e-3
"""How far outside of their range floats may lie before it is another range."""


class UnreadableImageError(ValueError):
    """An image cannot be read; the message names it."""


def read_picture(open_file: Callable[[], AbstractContextManager[IO[bytes]]], name: str) -> Image:
    """Open a picture and :func:`decode <decode_rgb>` it; errors of opening it name it too."""
    try:
        with open_file() as file:
            return decode_rgb(file, name)
    except UnreadableImageError:
        raise
    except Exception as error:  # of any file system; or a member of a zip that is packed in a way Python does not know
        raise UnreadableImageError(f"{name} cannot be read: {error}") from error


def decode_rgb(file: IO[bytes], name: str = "picture") -> Image:
    """Decode a picture, of any format that Pillow reads, to RGB as a person sees it; messages call it ``name``.

    * It is turned as its EXIF orientation says; of an animation it is the first frame.
    * Transparent parts show white: what colours are hidden there is arbitrary.
    * 16-bit grey is divided by its full range, 65535 (or that of a TIFF of 12 bits).
    * 32-bit grey has no range of its own, so its values tell: whole numbers up to 255 are 8-bit values, up to 65535
      16-bit values; floats in [0, 1] are shares of white, in [0, 255] 8-bit values. Others are an error.
    * CMYK, YCbCr, LAB, palettes and 1-bit pictures are converted.
    """
    from PIL import Image

    try:
        with Image.open(file) as opened:
            opened.load()
            return as_rgb(opened)
    except Exception as error:  # decoders raise whatever they like
        raise UnreadableImageError(f"{name} cannot be read as a picture: {_reason(file, error)}") from error


def as_rgb(picture: Image) -> Image:
    """The same for a picture that Pillow has opened."""
    from PIL import ImageOps

    inverted = getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE
    return _as_rgb(ImageOps.exif_transpose(picture), _full_range(picture), inverted)


def _full_range(picture: Image) -> float | None:
    """The largest value that the format of a picture of wide integers allows, if it has one."""
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    if picture.mode.startswith("I;16"):
        return float(2**bits - 1)
    if picture.mode != "I":
        return None
    if picture.format in SCALED_BY_READER:
        return 65535.0
    return 32767.0 if picture.format == "TIFF" and bits == 16 else None  # wide, so it has a sign


def _as_rgb(picture: Image, full_range: float | None, inverted: bool) -> Image:
    from PIL import Image

    if picture.mode[0] in "IF":  # I, I;16, I;16B, F
        picture = _as_8_bits(picture, full_range, inverted)
    elif picture.mode == "LAB":
        return _from_lab(picture)
    if picture.mode == "La":  # premultiplied, which Pillow brings to LA only
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        visible = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", visible.size, "white"), visible)
    return picture.convert("RGB")


def _as_8_bits(picture: Image, full_range: float | None, inverted: bool) -> Image:
    from PIL import Image

    values = np.asarray(picture).astype(np.float64)
    require(bool(np.isfinite(values).all()), "it holds NaN or infinity")
    ranges = (1.0, 255.0) if picture.mode == "F" else (255.0, 65535.0) if full_range is None else (full_range,)
    shares = values / _white(ranges, values.min(), values.max())
    if inverted:
        shares = 1 - shares
    if "transparency" in picture.info:  # the value that stands for it
        shares[values == picture.info["transparency"]] = 1
    return Image.fromarray((shares.clip(0, 1) * 255).round().astype(np.uint8))


def _white(ranges: Sequence[float], least: float, most: float) -> float:
    """The largest value of the first range that all values are in."""
    rounding = ROUNDING if ranges[0] == 1 else 0  # floats
    for high in ranges:
        if least >= -rounding * high and most <= high * (1 + rounding):
            return high
    listed = " or ".join(f"[0, {high:g}]" for high in ranges)
    raise ValueError(f"what is black and white must be told by values in {listed}, got {least:g} to {most:g}")


def _from_lab(picture: Image) -> Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, *profiles, outputMode="RGB")
    if converted is None:
        raise OSError("LAB cannot be converted")
    return converted


def _reason(file: IO[bytes], error: Exception) -> str:
    """What the decoder says, or, where it does not even know the format, what the file holds instead."""
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return (str(error) or type(error).__name__).splitlines()[0]
    file.seek(0)
    start = file.read(64)
    if not start:
        return "it is empty"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is a page of HTML or XML, not a picture"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the picture: run git lfs pull"
    return f"it is truncated, or of no format that Pillow knows, and starts with {start[:16]!r}"
