"""What can be indexed: a folder of pictures, or splits of a source of data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.data import ImageTextSource
from vse_lightning.data.files.paths import existing_path
from vse_lightning.data.files.pictures import PictureFolder

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Images(Protocol):
    """Reads pictures, or features, by row."""

    def __getitem__(self, row: int, /) -> Any:
        """An RGB picture, or a tensor."""


@dataclass(frozen=True)
class Collection:
    """Pictures, or features that stand for them, and captions if there are any.

    Attributes:
        origin: what it is, for people.
        names: of the pictures.
        images: the pictures.
        captions: of all pictures.
        text_image_rows: ``(captions,)`` int64, the row of the picture that each describes.
    """

    origin: str
    names: list[str]
    images: Images
    captions: list[str]
    text_image_rows: Tensor


def collect_folder(folder: str | Path) -> Collection:
    """All pictures in a folder and below, but no hidden ones, in the order of their paths.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no picture in it.
    """
    root = existing_path("--images", folder)
    require(root.is_dir(), "--images must be a folder, got {}", root)
    paths = (Path(parent, file) for parent, _, files in os.walk(root) for file in files)
    found = (path.relative_to(root) for path in paths if path.suffix.lower() in SUFFIXES)
    members = sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    require(bool(members), "--images must hold pictures ({}), got none in {}", ", ".join(SUFFIXES), root)
    # a file name may be no text at all
    names = [os.fsencode(member).decode("utf-8", "replace") for member in members]
    return Collection(str(root), names, PictureFolder(root, [[member] for member in members]), [], torch.arange(0))


def collect_splits(source: ImageTextSource, splits: Sequence[str]) -> Collection:
    """The images and captions of some splits of a source.

    Raises:
        ValueError: there is no such split.
    """
    image_ids = torch.cat([source.split(name) for name in splits])
    text_ids = source.text_ids(image_ids)
    return Collection(
        f"{type(source).__name__}, {' and '.join(splits)}",
        [source.image_name(image_id) for image_id in image_ids.tolist()],
        _SourceImages(source, image_ids),
        [source.captions[text_id] for text_id in text_ids.tolist()],
        torch.arange(len(image_ids)).repeat_interleave(source.captions_per_image[image_ids]),
    )


@dataclass(frozen=True)
class _SourceImages:
    source: ImageTextSource
    image_ids: Tensor

    def __getitem__(self, row: int) -> Any:
        return self.source.load_image(int(self.image_ids[row]))
