"""Captions in the columns of a table, and pictures in one: as paths, as bytes, or as both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vse_lightning.checks import require
from vse_lightning.data.files.dataset_rows import DatasetRows
from vse_lightning.data.files.decoding import read_picture
from vse_lightning.data.files.pictures import PictureFolder, PictureStore, count_present, open_pictures
from vse_lightning.paths import open_file

if TYPE_CHECKING:
    from PIL.Image import Image

BESIDE = "images"  # the folder that tables have beside them, in any case


def read_texts(rows: DatasetRows, columns: Sequence[str]) -> list[list[str]]:
    """The captions of each row, one column after the other."""
    texts: list[list[str]] = [[] for _ in rows.names]
    names = rows.dataset.column_names
    for column in columns:
        outer, *fields = column.split(".")
        if column in names or outer not in names:  # no dot that leads into objects
            outer, fields = column, []
        for row, value in enumerate(rows.values("caption_column", outer)):
            texts[row] += texts_of(value, fields, column, rows.names[row])
    for row, name in enumerate(rows.names):
        message = "caption_column: each row must have a caption, {} has none in {}"
        require(bool(texts[row]), message, name, ", ".join(columns))
    return texts


def texts_of(value: Any, fields: Sequence[str], column: str, name: str) -> list[str]:
    """The captions in one cell of a column; ``fields`` lead into objects, ``name`` is what messages call the row."""
    for field in fields:
        value = _field(value, field, name)
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        hint = f": write {column}.{next(iter(text))}" if isinstance(text, dict) and text else ""
        message = "caption_column must hold a string or a list of strings, got {!r} in {!r} of {}{}"
        require(isinstance(text, str), message, text, column, name, hint)
        message = "caption_column: a caption must not be blank, got {!r} in {!r} of {}"
        require(bool(text.strip()), message, text, column, name)
    return texts


def _field(value: Any, field: str, name: str) -> Any:
    """A field of an object, or of all objects of a list."""
    if isinstance(value, list):
        return [_field(item, field, name) for item in value]
    has_field = isinstance(value, dict) and field in value
    require(has_field, "caption_column: there must be a field {!r} in the objects of {}, got {!r}", field, name, value)
    return value[field]


class EncodedPictures:
    """Pictures in a column of bytes, or of ``{bytes, path}`` as ``datasets`` keeps them, by image id."""

    def __init__(self, rows: DatasetRows, column: str, rows_of_images: Sequence[int]) -> None:
        from datasets import Image

        pictures = rows.only("image_column", column)
        if isinstance(pictures.features[column], Image):  # not decoded by `datasets`: one reader for all
            pictures = pictures.cast_column(column, Image(decode=False))
        self._pictures, self._column, self._folder = pictures, column, rows.folder
        self._rows_of_images = rows_of_images
        self._names = [rows.names[row] for row in rows_of_images]

    def __getitem__(self, image_id: int) -> Image:
        value = self._pictures[self._rows_of_images[image_id]][self._column]
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        name = self._names[image_id] + (f" ({path})" if path else "")
        return read_picture(lambda: self._open(content, path), name)

    def _open(self, content: bytes | None, path: str | None) -> AbstractContextManager[IO[bytes]]:
        if content is not None:
            return BytesIO(content)
        if path is None:
            raise ValueError("there is no picture, neither bytes nor a path")
        if "://" in path:  # in an archive, or at the hub
            import fsspec

            file: AbstractContextManager[IO[bytes]] = fsspec.open(path, "rb")
            return file
        return open_file(self._folder / path)


def read_paths(rows: DatasetRows, column: str) -> list[str] | None:
    """The paths in a column, or None if it holds the pictures themselves."""
    from datasets import Image, Value

    feature = rows.only("image_column", column).features[column]
    kind = feature.dtype if isinstance(feature, Value) else ""
    has_bytes = isinstance(feature, dict) and "bytes" in feature
    if isinstance(feature, Image) or kind in ("binary", "large_binary") or has_bytes:
        return None
    message = "image_column must hold pictures, their bytes or their paths, got {!r} of type {}"
    require(kind in ("string", "large_string"), message, column, feature)
    paths: list[str] = rows.values("image_column", column)
    for path, name in zip(paths, rows.names, strict=True):
        here = bool(path) and not path.startswith(("http://", "https://"))
        require(here, "image_column must hold paths of pictures on this machine, got {!r} in {}", path, name)
    return paths


def open_column(
    rows: DatasetRows,
    column: str,
    paths: Sequence[str] | None,
    rows_of_images: Sequence[int],
    images: str | Path | None,
) -> EncodedPictures | PictureStore:
    """The pictures of a data set by image id, whose first rows are ``rows_of_images``; ``paths`` are those of all rows.

    Relative paths start where most pictures are: beside the data, in a folder ``Images`` there, or here.
    """
    if paths is None:
        require(images is None, "images is for a column of paths, and {!r} holds the pictures themselves", column)
        return EncodedPictures(rows, column, rows_of_images)
    candidates = [[paths[row]] for row in rows_of_images]
    if images is not None:
        return open_pictures(images, candidates)
    beside = [entry for entry in rows.folder.iterdir() if entry.is_dir() and entry.name.lower() == BESIDE]
    places = [rows.folder, *(beside if len(beside) == 1 else []), Path.cwd()]
    place = max(places, key=lambda folder: count_present(folder, candidates))  # of equals the first
    try:
        return PictureFolder(place, candidates)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; images= says in which folder or zip file they are") from None
