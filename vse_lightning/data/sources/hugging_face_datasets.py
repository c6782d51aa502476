"""Data sets of the Hugging Face hub, and local files in its formats and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra
from vse_lightning.data.files.columns import open_column, read_paths, read_texts
from vse_lightning.data.files.dataset_rows import load_rows
from vse_lightning.data.sources.image_text_source import ImageTextSource, group_by_split

if TYPE_CHECKING:
    from PIL.Image import Image


class HuggingFaceSource(ImageTextSource):
    """Any data set that ``datasets`` can load, or table in a file, with a column of pictures and one of captions.

    The splits keep their names, but ``validation``, ``valid`` and ``dev`` become ``val``, and ``restval`` joins
    ``train``. Captions are read at once, pictures only when they are asked for, in the workers. Streaming is refused:
    labels, evaluation and shuffling need every caption and any picture at any time. Data sets that need a loading
    script do not load with ``datasets`` 4 and later: look for their parquet version.

    Pictures may be paths, bytes, ``{bytes, path}`` or what ``datasets`` calls an image. Relative paths start at the
    folder of the table, or at a folder ``Images`` in it; the working directory comes last.

    Args:
        path: a data set of the hub (``user/name``), a folder written by ``save_to_disk``, a folder that
            ``load_dataset`` understands (parquet files, or pictures with ``metadata.jsonl``), or one file: parquet,
            Arrow, CSV, TSV, JSON, JSON lines, or ``.txt`` as Flickr8k has them (``image,caption`` on the first line,
            or lines ``name#number<TAB>caption``). Cells of text files stay text, also ``null``, ``NA`` and ``7``.
        image_column: pictures, or paths of pictures.
        caption_column: a caption, or a list of captions, in each row; or several columns of such, as in the Flickr8k of
            the hub that has ``caption_0`` to ``caption_4``. Where a column holds objects, a dot leads into them, as in
            ``sentences.raw`` for COCO.
        id_column: rows with equal values in this column (of one split) are one image with several captions: for data
            sets with one row for each caption. Default: the path, where pictures are paths; else each row is an image.
        split_column: a column that says which split a row is in, in place of the splits of the data set, as in the
            Flickr30k and COCO of the hub that keep all rows in one split.
        load_options: further arguments of ``datasets.load_dataset``, such as ``name``, ``revision`` or ``data_files``.
        images: a folder or zip file that holds the pictures, where they are paths.

    Raises:
        FileNotFoundError: nothing is at a local path, or a picture is not where its path says.
        ValueError: a column is missing or holds something else, streaming is asked for, or a caption is missing; the
            message names the row.
        UnreadableImageError: from ``load_image``: a picture is damaged.

    Example:
        ``HuggingFaceSource("nlphuji/flickr30k", split_column="split")``
    """

    @typed
    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        caption_column: str | list[str] = "caption",
        id_column: str | None = None,
        split_column: str | None = None,
        load_options: dict[str, Any] | None = None,
        images: str | Path | None = None,
    ) -> None:
        require_extra("HuggingFaceSource", "data", "datasets", "PIL")
        columns = [caption_column] if isinstance(caption_column, str) else caption_column
        require(len(columns) > 0, "caption_column must name at least one column, got {}", caption_column)
        rows = load_rows(path, load_options or {})
        texts_of_row = read_texts(rows, columns)
        paths = read_paths(rows, image_column)
        split_of_row = rows.splits if split_column is None else rows.keys("split_column", split_column)
        id_of_row = (paths or range(len(rows.names))) if id_column is None else rows.keys("id_column", id_column)
        keys = list(zip(map(str, split_of_row), id_of_row, strict=True))
        image_of_key = {key: image_id for image_id, key in enumerate(dict.fromkeys(keys))}
        image_of_row = torch.tensor([image_of_key[key] for key in keys])
        rows_of_images = np.unique(image_of_row, return_index=True)[1].tolist()
        self._pictures = open_column(rows, image_column, paths, rows_of_images, images)
        super().__init__(
            [text for texts in texts_of_row for text in texts],
            text_image_ids=image_of_row.repeat_interleave(torch.tensor(list(map(len, texts_of_row)))),
            splits=group_by_split([split for split, _ in image_of_key]),
            num_images=len(image_of_key),
            image_names=[
                (paths[row] if paths else rows.names[row]) if id_column is None else f"{split} {id_column} {key}"
                for row, (split, key) in zip(rows_of_images, image_of_key, strict=True)
            ],
        )

    def load_image(self, image_id: int) -> Image:
        """Decode one picture as RGB."""
        return self._pictures[image_id]
