"""The rows of a data set: of the Hugging Face hub, of a folder, or of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vse_lightning.checks import require
from vse_lightning.data.files.text_files import TABLE_SUFFIXES, read_table
from vse_lightning.paths import existing_path

if TYPE_CHECKING:
    from datasets import Dataset

LIBRARY_FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # surrogates, which no file of Arrow can hold


@dataclass(frozen=True)
class DatasetRows:
    """Rows with named columns."""

    dataset: Dataset  # of all splits, one split after the other
    splits: Sequence[str]  # of each row
    names: Sequence[str]  # what messages call each row
    folder: Path  # where relative paths in them start

    def only(self, argument: str, column: str) -> Dataset:
        """The rows with one column, which an ``argument`` names."""
        columns = sorted(self.dataset.column_names)
        require(column in columns, "{} must be one of {}, got {!r}", argument, columns, column)
        return self.dataset.select_columns([column])

    def values(self, argument: str, column: str) -> list[Any]:
        """All values of a column."""
        return list(self.only(argument, column)[:][column])

    def keys(self, argument: str, column: str) -> list[str | int]:
        """All values of a column that groups rows: texts or numbers, one in each row."""
        values = self.values(argument, column)
        for value, name in zip(values, self.names, strict=True):
            message = "{} must have a text or whole number in each row, got {!r} in {!r} of {}"
            require(isinstance(value, str | int) and value != "", message, argument, value, column, name)
        return values


def load_rows(path: str | Path, options: Mapping[str, Any]) -> DatasetRows:
    """Load a data set; the arguments are those of ``HuggingFaceSource``."""
    require(
        not options.get("streaming"),
        "load_options must not ask for streaming: labels, evaluation and shuffling need every caption and any picture "
        "at any time, and a stream gives them once, in order; StreamingSource trains on streams",
    )
    suffix = Path(path).suffix.lower()
    is_hub_name = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(path)) and suffix not in (*LIBRARY_FORMATS, *TABLE_SUFFIXES)
    if is_hub_name and not Path(path).exists():
        return _rows_of_parts(from_hub(str(path), **options), Path.cwd())
    local = existing_path("path", path)
    if local.is_file() and suffix in TABLE_SUFFIXES:
        require(not options, "load_options are for what `datasets` loads, and {} is read without it", local)
        return _rows_of_table(local)
    try:
        return _rows_of_parts(_load(local, options), local if local.is_dir() else local.parent)
    except Exception as error:  # the library raises whatever its readers do, often with the reason as the cause
        reason = str(error.__cause__ or error) or type(error).__name__
        raise ValueError(f"path: {local} cannot be loaded: {reason.splitlines()[0]}") from error


def from_hub(name: str, **options: Any) -> Any:
    """A data set of the Hugging Face hub; where there is none, the name is most likely a mistyped path."""
    from datasets import load_dataset

    try:
        return load_dataset(name, **options)
    except OSError as error:  # whether it could not be found or not be asked for
        message = f"path: nothing at {name!r}, and no data set of that name from the Hugging Face hub: {error}"
        raise FileNotFoundError(message) from error


def _load(local: Path, options: Mapping[str, Any]) -> Any:
    from datasets import load_dataset, load_from_disk

    if (local / "dataset_dict.json").exists() or (local / "state.json").exists():
        return load_from_disk(str(local))
    if local.is_dir():
        return load_dataset(str(local), **options)
    file_format = LIBRARY_FORMATS.get(local.suffix.lower())
    readable = ", ".join((*LIBRARY_FORMATS, *TABLE_SUFFIXES))
    require(file_format is not None, "a file must be one of {}", readable)
    return load_dataset(file_format, data_files=str(local), **options)


def _rows_of_parts(loaded: Any, folder: Path) -> DatasetRows:
    from datasets import Dataset, concatenate_datasets

    parts = {str(loaded.split or "train"): loaded} if isinstance(loaded, Dataset) else loaded
    return DatasetRows(
        concatenate_datasets(list(parts.values())),
        [split for split, part in parts.items() for _ in range(len(part))],
        [f"{split} row {row}" for split, part in parts.items() for row in range(len(part))],
        folder,
    )


def _rows_of_table(path: Path) -> DatasetRows:
    from datasets import Dataset

    table = read_table("path", path)
    for column, values in table.columns.items():
        broken = next((row for row, value in enumerate(values) if HALF_A_CHARACTER.search(str(value))), None)
        if broken is not None:
            raise ValueError(
                f"path: {column!r} of {table.row_names[broken]} holds half of a character: {values[broken]!r}"
            )
        try:
            Dataset.from_dict({column: values})
        except (TypeError, ValueError) as error:  # Arrow's
            raise ValueError(f"path: {column!r} of {path} must hold values of one type: {error}") from error
    dataset = Dataset.from_dict(dict(table.columns))
    return DatasetRows(dataset, ["train"] * len(dataset), table.row_names, path.parent)
