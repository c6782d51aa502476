"""Data sets of the Hugging Face hub and local files in their formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vse_lightning.checks import require
from vse_lightning.data.paths import existing_path
from vse_lightning.data.pictures import as_rgb
from vse_lightning.data.source import ImageTextSource
from vse_lightning.data.splits import group_by_split

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

FILE_FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv"}


class HuggingFaceSource(ImageTextSource):
    """Any data set that ``datasets`` can load and that has a column of pictures and one of captions.

    The splits keep their names, but ``validation``, ``valid`` and ``dev`` become ``val``, and ``restval`` joins
    ``train``. Captions are read at once, pictures only when they are asked for, in the workers. Streaming is refused:
    labels, evaluation and shuffling need every caption and any picture at any time. Data sets that need a loading
    script do not load with ``datasets`` 4 and later: look for their parquet version.

    Args:
        path: a data set of the hub (``user/name``), a folder written by ``save_to_disk``, a folder that
            ``load_dataset`` understands (parquet files, or pictures with ``metadata.jsonl``), or one parquet, Arrow,
            JSON or CSV file.
        image_column: pictures, or paths of pictures.
        caption_column: a caption, or a list of captions, in each row; or several columns of such, as in the Flickr8k of
            the hub that has ``caption_0`` to ``caption_4``.
        id_column: rows with equal values in this column (of one split) are one image with several captions: for data
            sets with one row for each caption. Default: each row is an image.
        split_column: a column that says which split a row is in, in place of the splits of the data set, as in the
            Flickr30k and COCO of the hub that keep all rows in one split.
        load_options: further arguments of ``datasets.load_dataset``, such as ``name``, ``revision`` or ``data_files``.

    Raises:
        FileNotFoundError: nothing is at a local path.
        ValueError: a column is missing or holds something else, streaming is asked for, or captions are missing.

    Example:
        ``HuggingFaceSource("nlphuji/flickr30k", split_column="split")``
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        caption_column: str | list[str] = "caption",
        id_column: str | None = None,
        split_column: str | None = None,
        load_options: dict[str, Any] | None = None,
    ) -> None:
        rows, split_of_row = _load(path, load_options or {})
        caption_columns = [caption_column] if isinstance(caption_column, str) else caption_column
        require(len(caption_columns) > 0, "caption_column must name at least one column, got {}", caption_column)
        _check_column(rows, "image_column", image_column)
        for column in caption_columns:
            _check_column(rows, "caption_column", column)
        _check_column(rows, "id_column", id_column)
        _check_column(rows, "split_column", split_column)
        if split_column is not None:
            split_of_row = _values(rows, split_column)
        id_of_row = range(len(rows)) if id_column is None else _values(rows, id_column)
        keys = list(zip(split_of_row, id_of_row, strict=True))
        image_of_key = {key: image_id for image_id, key in enumerate(dict.fromkeys(keys))}
        image_of_row = [image_of_key[key] for key in keys]
        texts_of_column = [[_texts(value, column) for value in _values(rows, column)] for column in caption_columns]
        texts_of_row = [list(chain(*texts)) for texts in zip(*texts_of_column, strict=True)]
        self._pictures = _with_pictures(rows.select_columns([image_column]), image_column)
        self._column = image_column
        self._row_of_image = {image_id: row for row, image_id in reversed(list(enumerate(image_of_row)))}
        super().__init__(
            [text for texts in texts_of_row for text in texts],
            text_image_ids=torch.tensor(image_of_row).repeat_interleave(torch.tensor([len(t) for t in texts_of_row])),
            splits=group_by_split([split for split, _ in image_of_key]),
            num_images=len(image_of_key),
            image_names=[f"{split} {'row' if id_column is None else id_column} {key}" for split, key in image_of_key],
        )

    def load_image(self, image_id: int) -> Image:
        """Decode one picture as RGB."""
        return as_rgb(self._pictures[self._row_of_image[image_id]][self._column])


def _load(path: str | Path, options: Mapping[str, Any]) -> tuple[Dataset, list[str]]:
    """All rows, and the split that each is in."""
    from datasets import Dataset, concatenate_datasets, load_dataset, load_from_disk

    if options.get("streaming"):
        raise ValueError(
            "load_options must not ask for streaming: labels, evaluation and shuffling need every caption and any "
            "picture at any time, and a stream gives them once, in order"
        )
    is_hub_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(path)) and Path(path).suffix not in FILE_FORMATS
    if is_hub_name and not Path(path).exists():
        loaded = load_dataset(str(path), **options)
    else:
        local = existing_path("path", path)
        if (local / "dataset_dict.json").exists() or (local / "state.json").exists():
            loaded = load_from_disk(str(local))
        elif local.suffix in FILE_FORMATS:
            loaded = load_dataset(FILE_FORMATS[local.suffix], data_files=str(local), **options)
        else:
            loaded = load_dataset(str(local), **options)
    parts = {str(loaded.split or "train"): loaded} if isinstance(loaded, Dataset) else loaded
    return concatenate_datasets(list(parts.values())), [name for name, part in parts.items() for _ in range(len(part))]


def _check_column(rows: Dataset, argument: str, column: str | None) -> None:
    if column is not None and column not in rows.column_names:
        raise ValueError(f"{argument} must be one of {sorted(rows.column_names)}, got {column!r}")


def _with_pictures(rows: Dataset, column: str) -> Dataset:
    from datasets import Image, Value

    feature = rows.features[column]
    if isinstance(feature, Image):
        return rows
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
        return rows.cast_column(column, Image())
    raise ValueError(f"image_column must hold pictures or paths of pictures, got {column!r} of type {feature}")


def _values(rows: Dataset, column: str) -> list[Any]:
    return list(rows.select_columns([column])[:][column])


def _texts(value: Any, column: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"caption_column must hold a string or a list of strings, got {value!r} in {column!r}")
    return texts
