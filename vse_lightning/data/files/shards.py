"""Shards, files of very many samples, read from their beginning to their end and never as a whole."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vse_lightning.checks import require
from vse_lightning.paths import existing_path, expanded

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".parquet")
BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)  # what reading a damaged tar raises
ROWS_AT_A_TIME = 64
LOOKED_AT = 5
"""Samples that must show the columns, of which some may be damaged."""

Sample = dict[str, Any]
"""``key``, ``image`` and ``caption``, as they are in the shard, or None; or ``key`` and ``error``."""


def find_shards(path: str | Path | list[Any] | tuple[Any, ...]) -> list[str]:
    """The shards of a folder, of a pattern such as ``data/train-*.tar``, of one file, or of a list of these, in order.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the folder has none, or some are tars and others parquet files.
    """
    if isinstance(path, list | tuple):
        shards = [shard for each in path for shard in find_shards(each)]
    elif any(character in str(path) for character in "*?["):
        pattern = expanded(path)
        shards = sorted(map(str, pattern.parent.glob(pattern.name)))
    else:
        whole = existing_path("path", path)
        shards = sorted(map(str, whole.iterdir())) if whole.is_dir() else [str(whole)]
    found = [shard for shard in shards if shard.endswith(SUFFIXES)]
    require(bool(found), "path must lead to shards that end in {}, found none in {}", ", ".join(SUFFIXES), str(path))
    kinds = {is_table(shard) for shard in found}
    require(len(kinds) == 1, "path must lead to tars or to parquet files, got both: {} and {}", found[0], found[-1])
    return found


def is_table(shard: str) -> bool:
    """Whether a shard is a parquet file and no tar."""
    return shard.endswith(".parquet")


def columns_of(shard: str) -> list[str]:
    """The columns of a shard; of a tar those of its first samples, ``"json"`` for ``000.json``.

    Raises:
        ValueError: it is damaged, or no tar or parquet file at all.
    """
    from pyarrow import ArrowException, parquet

    try:
        return list(parquet.read_schema(shard).names) if is_table(shard) else _columns_of_tar(shard)
    except (ArrowException, *BROKEN) as error:
        raise ValueError(f"path: {shard} cannot be read: {error}") from error


def _columns_of_tar(shard: str) -> list[str]:
    columns: dict[str, None] = {}
    with tarfile.open(shard, "r|*") as tar:
        keys: set[str] = set()
        for key, column, _ in _members(tar):
            keys.add(key)
            if len(keys) > LOOKED_AT:
                break
            columns[column] = None
    return list(columns)


def samples_of_tars(shards: list[str], image_columns: str, caption_column: str) -> Iterator[Sample]:
    """Samples of WebDataset's tars: consecutive files that differ only in what stands after the first dot of the name.

    Only files of the columns asked for are read, into memory, whatever folders their names lead to.

    Args:
        shards: paths.
        image_columns: of the picture: ``"jpg"``, or several of which a sample has one, ``"jpg;png"``.
        caption_column: of the caption: ``"txt"``.
    """
    wanted = dict.fromkeys(image_columns.split(";"), "image") | {caption_column: "caption"}
    for shard in shards:
        sample: Sample = {}
        try:
            with tarfile.open(shard, "r|*") as tar:
                for key, column, member in _members(tar):
                    name = f"{key} of {Path(shard).name}"
                    if sample.get("key") != name:
                        if sample:
                            yield sample
                        sample = {"key": name, "image": None, "caption": None}
                    file = tar.extractfile(member) if column in wanted else None
                    if file is not None:
                        sample[wanted[column]] = file.read()
            if sample:
                yield sample
        except BROKEN as error:
            yield {"key": f"the rest of {shard}", "error": str(error) or type(error).__name__}


def samples_of_tables(shards: list[str], image_columns: str, caption_column: str) -> Iterator[Sample]:
    """Samples of parquet files, one a row; arguments as :func:`samples_of_tars`."""
    from pyarrow import ArrowException, parquet

    columns = {"image": image_columns, "caption": caption_column}
    for shard in shards:
        row = 0
        try:
            with parquet.ParquetFile(shard) as table:
                lacking = [column for column in columns.values() if column not in table.schema_arrow.names]
                require(not lacking, "it has no column {!r}, only {}", *lacking[:1], table.schema_arrow.names)
                for batch in table.iter_batches(ROWS_AT_A_TIME, columns=[*columns.values()]):
                    for values in batch.to_pylist():
                        name = f"row {row} of {Path(shard).name}"
                        yield {"key": name} | {field: values[column] for field, column in columns.items()}
                        row += 1
        except (ArrowException, OSError, ValueError) as error:  # an ArrowException may be a ValueError
            yield {"key": f"the rest of {shard}", "error": str(error) or type(error).__name__}


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, column and member of all files that belong to samples."""
    for member in tar:
        path = PurePosixPath(member.name)
        stem, dot, column = path.name.partition(".")
        if member.isreg() and stem and dot:  # no links, whose targets may lie anywhere
            yield str(path.with_name(stem)), column.lower(), member
