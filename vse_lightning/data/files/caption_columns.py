"""Captions in the columns of a table."""

from collections.abc import Sequence
from typing import Any

from vse_lightning.checks import require
from vse_lightning.data.files.dataset_rows import DatasetRows


def read_texts(rows: DatasetRows, columns: Sequence[str]) -> list[list[str]]:
    """The captions of each row, one column after the other.

    Raises:
        ValueError: a column is missing or holds something else than texts, or a row has no caption or a blank one.
    """
    texts: list[list[str]] = [[] for _ in rows.names]
    names = rows.dataset.column_names
    for column in columns:
        outer, *fields = column.split(".")
        if column in names or outer not in names:  # no dot that leads into objects
            outer, fields = column, []
        for row, value in enumerate(rows.values("caption_column", outer)):
            texts[row] += _texts(value, fields, column, rows.names[row])
    for row, name in enumerate(rows.names):
        message = "caption_column: each row must have a caption, {} has none in {}"
        require(bool(texts[row]), message, name, ", ".join(columns))
    return texts


def _texts(value: Any, fields: Sequence[str], column: str, name: str) -> list[str]:
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
