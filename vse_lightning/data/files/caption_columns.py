"""Captions in the columns of a table."""

from __future__ import annotations

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
    for column in columns:
        values, fields = _values(rows, column)
        for row, value in enumerate(values):
            texts[row] += _texts(value, fields, column, rows.names[row])
    for found, name in zip(texts, rows.names, strict=True):
        message = "caption_column: each row must have a caption, {} has none in {}"
        require(bool(found), message, name, ", ".join(columns))
    return texts


def _values(rows: DatasetRows, column: str) -> tuple[list[Any], list[str]]:
    """The values of a column, and the fields that lead from them to the texts."""
    outer, *fields = column.split(".")
    if column in rows.dataset.column_names or outer not in rows.dataset.column_names:
        return rows.values("caption_column", column), []
    return rows.values("caption_column", outer), fields


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
