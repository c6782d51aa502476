"""Making an index of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities.data import suggested_max_num_workers
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm  # type: ignore[import-untyped]

from vse_lightning.checks import require
from vse_lightning.cli.search.collection import Collection, Images
from vse_lightning.cli.search.embedding import SHOW_AFTER, embed_texts, encode, prepare
from vse_lightning.cli.search.index import SearchIndex
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages.items import jpeg_of, thumbnail


def make_index(
    model: Retriever,
    checkpoint: Path,
    checkpoint_sha256: str,
    collection: Collection,
    batch_size: int = 64,
    num_workers: int | None = None,
) -> SearchIndex:
    """Embed all pictures of a collection that can be read, and their captions.

    Args:
        model: on the device that computes.
        checkpoint: where the model comes from.
        checkpoint_sha256: of that file.
        collection: what to embed.
        batch_size: pictures, or captions, at a time.
        num_workers: processes that read pictures; default: as many as CPUs, up to 8.

    Raises:
        ValueError: no picture can be read, the model takes no pictures, or an embedding is not finite.
    """
    read = _embed_images(model, collection, batch_size, num_workers)
    new_rows = torch.full((len(collection.names),), -1)
    new_rows[read.rows] = torch.arange(len(read.rows))
    text_image_rows = new_rows[collection.text_image_rows]
    texts = (text_image_rows >= 0).nonzero().flatten()
    captions = [collection.captions[text] for text in texts.tolist()]
    return SearchIndex(
        image_embeds=read.embeds,
        text_embeds=embed_texts(model, captions, batch_size) if captions else read.embeds[:0],
        text_image_rows=text_image_rows[texts],
        names=[collection.names[row] for row in read.rows.tolist()],
        captions=captions,
        thumbnails=torch.from_numpy(np.frombuffer(bytearray(b"".join(read.jpegs)), np.uint8)),
        thumbnail_ends=torch.tensor(list(accumulate(map(len, read.jpegs)))),
        origin=collection.origin,
        model=type(model).__name__,
        checkpoint=str(checkpoint),
        checkpoint_sha256=checkpoint_sha256,
    )


class _Embedded(NamedTuple):
    rows: Tensor  # (N,) int64, which pictures of the collection could be read
    embeds: Tensor  # (N, D)
    jpegs: list[bytes]


class _Picture(NamedTuple):
    row: int
    prepared: Tensor
    jpeg: bytes


class _Batch(NamedTuple):
    rows: list[int]
    prepared: Tensor
    jpegs: list[bytes]


class _Pictures(Dataset[_Picture | None]):
    """Prepared pictures with their thumbnails; None in the place of one that cannot be read."""

    def __init__(self, images: Images, count: int, transform: Callable[[Any], Tensor] | None) -> None:
        self._images, self._count, self._transform = images, count, transform

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> _Picture | None:
        try:
            image = self._images[row]
        except Exception:  # decoders raise whatever they like
            return None
        jpeg = b"" if isinstance(image, Tensor) else jpeg_of(thumbnail(image))
        return _Picture(row, prepare(image, self._transform), jpeg)


def _collate(pictures: Sequence[_Picture | None]) -> _Batch | None:
    read = [picture for picture in pictures if picture is not None]
    if not read:
        return None
    prepared = torch.stack([picture.prepared for picture in read])
    return _Batch([picture.row for picture in read], prepared, [picture.jpeg for picture in read])


def _embed_images(model: Retriever, collection: Collection, batch_size: int, num_workers: int | None) -> _Embedded:
    count = len(collection.names)
    dataset = _Pictures(collection.images, count, model.image_transform(train=False))
    dataset[0]  # what is wrong with every picture is said here, and not by a worker
    if num_workers is None:
        num_workers = 0 if count <= batch_size else min(8, suggested_max_num_workers(1))
    loader: DataLoader[Any] = DataLoader(dataset, batch_size, num_workers=num_workers, collate_fn=_collate)
    rows: list[int] = []
    embeds: list[Tensor] = []
    jpegs: list[bytes] = []
    with tqdm(total=count, desc="Pictures", unit="picture", delay=SHOW_AFTER, leave=False) as bar:
        for batch in loader:
            if batch is not None:
                rows += batch.rows
                embeds.append(encode(model.encode_images, batch.prepared, model.device))
                jpegs += batch.jpegs
            bar.update(min(batch_size, count - bar.n))
    require(bool(rows), "pictures must be readable, got {} that are not, in {}", count, collection.origin)
    return _Embedded(torch.tensor(rows), torch.cat(embeds), jpegs)
