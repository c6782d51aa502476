"""Making an index of a folder of pictures, or of splits of a source of data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning.fabric.utilities.data import suggested_max_num_workers
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm  # type: ignore[import-untyped]

from vse_lightning.checks import require
from vse_lightning.cli.search.encoding import SHOW_AFTER, embed_texts, encode, prepare
from vse_lightning.cli.search.index_file import SearchIndex
from vse_lightning.data import ImageTextSource
from vse_lightning.data.files.pictures import PictureFolder
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages.items import jpeg_of, thumbnail
from vse_lightning.paths import existing_path

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Images(Protocol):
    """Reads pictures, or features, by row."""

    def __getitem__(self, row: int, /) -> Any:
        """An RGB picture, or a tensor."""


@dataclass(frozen=True)
class Pictures:
    """Pictures, or features that stand for them, and captions if there are any.

    Attributes:
        origin: what they are, for people.
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


def pictures_of_folder(folder: str | Path) -> Pictures:
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
    return Pictures(str(root), names, PictureFolder(root, [[member] for member in members]), [], torch.arange(0))


def pictures_of_splits(source: ImageTextSource, splits: Sequence[str]) -> Pictures:
    """The images and captions of some splits of a source.

    Raises:
        ValueError: there is no such split.
    """
    image_ids = torch.cat([source.split(name) for name in splits])
    text_ids = source.text_ids(image_ids)
    return Pictures(
        f"{type(source).__name__}, {' and '.join(splits)}",
        [source.image_name(image_id) for image_id in image_ids.tolist()],
        _SourceImages(source, image_ids),
        [source.captions[text_id] for text_id in text_ids.tolist()],
        torch.arange(len(image_ids)).repeat_interleave(source.captions_per_image[image_ids]),
    )


def make_index(
    model: Retriever,
    checkpoint: Path,
    checkpoint_sha256: str,
    pictures: Pictures,
    batch_size: int = 64,
    num_workers: int | None = None,
) -> SearchIndex:
    """Embed all pictures that can be read, and their captions.

    Args:
        model: on the device that computes.
        checkpoint: where the model comes from.
        checkpoint_sha256: of that file.
        pictures: what to embed.
        batch_size: pictures, or captions, at a time.
        num_workers: processes that read pictures; default: as many as CPUs, up to 8.

    Raises:
        ValueError: no picture can be read, the model takes no pictures, or an embedding is not finite.
    """
    rows, embeds, jpegs = _embed_images(model, pictures, batch_size, num_workers)
    new_rows = torch.full((len(pictures.names),), -1)
    new_rows[rows] = torch.arange(len(rows))
    text_image_rows = new_rows[pictures.text_image_rows]
    texts = (text_image_rows >= 0).nonzero().flatten()
    captions = [pictures.captions[text] for text in texts.tolist()]
    return SearchIndex(
        image_embeds=embeds,
        text_embeds=embed_texts(model, captions, batch_size) if captions else embeds[:0],
        text_image_rows=text_image_rows[texts],
        names=[pictures.names[row] for row in rows],
        captions=captions,
        thumbnails=torch.from_numpy(np.frombuffer(bytearray(b"".join(jpegs)), np.uint8)),
        thumbnail_ends=torch.tensor(list(accumulate(map(len, jpegs)))),
        origin=pictures.origin,
        model=type(model).__name__,
        checkpoint=str(checkpoint),
        checkpoint_sha256=checkpoint_sha256,
    )


def _embed_images(
    model: Retriever, pictures: Pictures, batch_size: int, num_workers: int | None
) -> tuple[list[int], Tensor, list[bytes]]:
    """Rows, embeddings and thumbnails of the pictures that can be read."""
    count = len(pictures.names)
    dataset = _Prepared(pictures, model)
    dataset[0]  # what is wrong with every picture is said here, and not by a worker
    if num_workers is None:
        num_workers = 0 if count <= batch_size else min(8, suggested_max_num_workers(1))
    loader: DataLoader[Any] = DataLoader(dataset, batch_size, num_workers=num_workers, collate_fn=_collate)
    rows: list[int] = []
    embeds: list[Tensor] = []
    jpegs: list[bytes] = []
    with tqdm(total=count, desc="Pictures", unit="picture", delay=SHOW_AFTER, leave=False) as bar:
        for of_batch, prepared, thumbnails in loader:
            if of_batch:
                rows += of_batch
                embeds.append(encode(model.encode_images, prepared, model.device))
                jpegs += thumbnails
            bar.update(min(batch_size, count - bar.n))
    require(bool(rows), "pictures must be readable, got {} that are not, in {}", count, pictures.origin)
    return rows, torch.cat(embeds), jpegs


@dataclass(frozen=True)
class _SourceImages:
    source: ImageTextSource
    image_ids: Tensor

    def __getitem__(self, row: int) -> Any:
        return self.source.load_image(int(self.image_ids[row]))


class _Picture(NamedTuple):
    row: int
    prepared: Tensor
    jpeg: bytes


class _Prepared(Dataset[_Picture | None]):
    """Prepared pictures with their thumbnails; None in the place of one that cannot be read."""

    def __init__(self, pictures: Pictures, model: Retriever) -> None:
        self._images, self._count = pictures.images, len(pictures.names)
        self._transform = model.image_transform(train=False)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> _Picture | None:
        try:
            image = self._images[row]
        except Exception:  # decoders raise whatever they like
            return None
        jpeg = b"" if isinstance(image, Tensor) else jpeg_of(thumbnail(image))
        return _Picture(row, prepare(image, self._transform), jpeg)


def _collate(pictures: Sequence[_Picture | None]) -> tuple[list[int], Tensor, list[bytes]]:
    read = [picture for picture in pictures if picture is not None]
    prepared = torch.stack([picture.prepared for picture in read]) if read else torch.empty(0)
    return [picture.row for picture in read], prepared, [picture.jpeg for picture in read]
