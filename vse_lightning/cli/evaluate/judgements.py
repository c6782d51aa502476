"""What people think of images and texts: ratings of pairs from a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.data.files.text_files import TextTable, read_table

OPTION = "--judgements"
_WHOLE = re.compile(r"\d+")


class Judgements(NamedTuple):
    """Ratings ``(R,)``, one an entry; several of a pair are several entries."""

    images: Tensor  # rows among the evaluated images
    texts: Tensor  # rows among the evaluated texts
    ratings: Tensor  # higher is better
    own: Tensor  # bool, whether the text is the image's own caption

    def select(self, kept: Tensor) -> Judgements:
        """Some of the entries."""
        return Judgements(*(column[kept] for column in self))

    def values(self, block: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What a model or label source says of the pairs ``(R,)``, float64; pairs that come again have one value.

        Its ``block`` gives values ``(N, M)`` of rows of images with rows of texts.
        """
        pairs, entry = torch.unique(torch.stack([self.images, self.texts]), dim=1, return_inverse=True)
        parts = []
        for images, texts in torch.split(pairs, 2048, dim=1):  # by image, so that blocks hold few
            rows, row = torch.unique(images, return_inverse=True)
            columns, column = torch.unique(texts, return_inverse=True)
            parts.append(block(rows, columns)[row, column].double())
        return torch.cat(parts)[entry]


def read_judgements(path: Path, captions: Captions) -> Judgements:
    """Read a table with the columns ``image`` or ``imgid``, ``text`` or ``sentid``, and ``rating``.

    ``image`` is a row among the images that are evaluated or a file name, ``text`` a row among their captions;
    ``imgid`` and ``sentid`` are ids of the captions file.
    """
    table = read_table(OPTION, path)
    image_ids, text_ids = captions.image_ids, captions.text_ids
    names = captions.image_names and [captions.image_names[row] for row in image_ids.tolist()]
    kinds: Mapping[str, Sequence[Any] | None] = {
        "image": range(len(image_ids)),
        "imgid": None if captions.imgids is None else captions.imgids[image_ids].tolist(),
        "text": range(len(text_ids)),
        "sentid": None if captions.coco_text_ids is None else captions.coco_text_ids[text_ids].tolist(),
    }
    named = not all(_WHOLE.fullmatch(str(cell)) for cell in table.columns.get("image", ()))
    if named:
        kinds = {**kinds, "image": names}
    images, texts = (_rows(path, table, kinds, pair, captions) for pair in (("image", "imgid"), ("text", "sentid")))
    own = captions.text_image_ids[text_ids[texts]] == image_ids[images]
    ratings = _ratings(path, table)
    require(len(ratings) > 1, "--judgements must have at least two ratings, {} has {}", path, len(ratings))
    return Judgements(images, texts, ratings, own)


def _rows(
    path: Path, table: TextTable, kinds: Mapping[str, Sequence[Any] | None], names: tuple[str, str], captions: Captions
) -> Tensor:
    """The row of each entry's image or text, by the one of two columns that is there."""
    there = [name for name in names if name in table.columns]
    message = "--judgements must have one of the columns {} and {}, {} has {}"
    require(len(there) == 1, message, *names, path, ", ".join(table.columns))
    (column,) = there
    known = kinds[column]
    if known is None:
        what = "file names" if column == "image" else column
        raise ValueError(f"{OPTION}: {path} tells images or texts by {what}, which {captions.origin} does not have")
    row_of = {str(name): row for row, name in enumerate(known)}
    message = (
        "--judgements: {} of the images and texts that are evaluated, {}, must be that of each rating, got {!r} in {}"
    )
    for cell, line in zip(table.columns[column], table.row_names, strict=True):
        require(str(cell) in row_of, message, column, captions.origin, cell, line)
    return torch.tensor([row_of[str(cell)] for cell in table.columns[column]])


def _ratings(path: Path, table: TextTable) -> Tensor:
    require(
        "rating" in table.columns, "--judgements must have a column rating, {} has {}", path, ", ".join(table.columns)
    )
    ratings = []
    for cell, line in zip(table.columns["rating"], table.row_names, strict=True):
        try:
            rating = float(cell)
        except (TypeError, ValueError):
            rating = float("nan")
        require(isfinite(rating), "--judgements must have finite numbers as rating, got {!r} in {}", cell, line)
        ratings.append(rating)
    return torch.tensor(ratings, dtype=torch.float64)
