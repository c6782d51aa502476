"""Text in files, UTF-8 with or without a byte order mark: lines, JSON, and tables whose cells stay text.

Tables are CSV, TSV, JSON, JSON lines, and the ``name#number`` lines of Flickr8k.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vse_lightning.checks import require

ENCODING = "utf-8-sig"  # drops the mark that Windows writes, which would become part of the first id
DELIMITERS = ("\t", ",", "|", ";")
JSON_LINES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".token", ".json", *JSON_LINES)
NUMBERED = re.compile(r"(?P<image>[^\t]+)#\d+\t(?P<caption>.*)")  # of Flickr8k.token.txt and its like


def read_lines(argument: str, path: Path) -> list[str]:
    """The lines of a file without the white space around them; ``argument`` says whose file it is."""
    try:
        # Told what ends a line, Python does not break captions at the rarer characters that it would take for an end.
        with path.open(encoding=ENCODING, newline="\n") as file:
            return [line.strip() for line in file]
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{argument} must be a text file in UTF-8, got {path}: {problem_of(error)}") from error


def read_json(argument: str, path: Path) -> Any:
    """What a JSON file holds; ``argument`` says whose file it is."""
    try:
        return json.loads(path.read_text(encoding=ENCODING))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{argument} must be a JSON file, got {str(path)!r}: {problem_of(error)}") from error


def problem_of(error: Exception) -> str:
    """What is wrong with a file, without the words of codecs and operating systems."""
    if isinstance(error, UnicodeDecodeError):
        return f"it holds the byte {error.object[error.start]:#04x}, which is none of UTF-8: save it as UTF-8"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


@dataclass(frozen=True)
class TextTable:
    """Columns of equal length by name.

    Values of CSV and its like are strings, also ``null``, ``NA`` and ``7``; those of JSON are whatever it holds, and
    None where a row lacks the field.
    """

    columns: Mapping[str, Sequence[Any]]
    row_names: Sequence[str]  # for messages, such as "line 3 of captions.csv"


def read_table(argument: str, path: Path) -> TextTable:
    """Read a text file as a table; its suffix, or first line, says which kind it is.

    ``.csv``, ``.tsv`` and ``.txt`` name the columns in the first line, divided by tabs, commas, ``|`` or ``;``. Lines
    ``name#number<TAB>caption`` (Flickr8k.token.txt) have the columns ``image``, without the number, and ``caption``.
    JSON is a list of objects, possibly the only list in an object, or has an object on each line. Messages name the
    ``argument`` whose file it is, and the line.
    """
    suffix = path.suffix.lower()
    if suffix in JSON_LINES or (suffix == ".json" and has_json_lines(path)):
        return _table_from_json_lines(argument, path)
    if suffix == ".json":
        return table_of_objects(argument, path, read_json(argument, path))
    lines = read_lines(argument, path)
    require(any(lines), "{} must be a table, got an empty file: {}", argument, path)
    if NUMBERED.fullmatch(lines[0]):
        return _table_from_numbered_lines(argument, path, lines)
    delimiter = "\t" if suffix == ".tsv" else _delimiter(lines[0])
    if delimiter is None:
        raise ValueError(
            f"{argument} must be a table whose first line names at least two columns, divided by a tab, a comma, | or "
            f"; alone, or have lines name#number<TAB>caption; the first line of {path} is {lines[0][:80]!r}"
        )
    return _table_from_delimited(argument, path, delimiter)


def has_json_lines(path: Path) -> bool:
    """Whether a file has a JSON object on its first line, and more below."""
    with path.open(encoding=ENCODING, errors="replace") as file:
        first, second = file.readline(), file.readline()
    try:
        return bool(second.strip()) and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def column_names(line: str) -> list[str]:
    """The names of columns in the first line of a text file, if it is that of a table; none if it is a sentence."""
    if NUMBERED.fullmatch(line):
        return ["image", "caption"]
    delimiter = _delimiter(line)
    return [] if delimiter is None else [name.strip() for name in line.split(delimiter)]


def _delimiter(header: str) -> str | None:
    """The only one that is there."""
    there = [delimiter for delimiter in DELIMITERS if delimiter in header]
    return there[0] if len(there) == 1 else None


def _table_from_delimited(argument: str, path: Path, delimiter: str) -> TextTable:
    try:
        (_, names), *rows = _cells(path, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error as error:
        if delimiter != "\t":
            raise ValueError(f"{argument}: {path} cannot be read as a table: {error}") from error
        # Tabs are often written without a thought of quotes.
        (_, names), *rows = _cells(path, delimiter, csv.QUOTE_NONE)
    require(len(set(names)) == len(names), "{} must name each column once, got {} in {}", argument, names, path)
    for line, cells in rows:
        message = "{}: line {} of {} must have {} cells, as many as the first line, got {}: {}"
        require(len(cells) == len(names), message, argument, line, path, len(names), len(cells), cells)
    columns = {name: [cells[place] for _, cells in rows] for place, name in enumerate(names)}
    return _table_with_rows(argument, path, columns, [line for line, _ in rows])


def _cells(path: Path, delimiter: str, quoting: Literal[0, 3]) -> list[tuple[int, list[str]]]:
    """The cells of each row that is not empty, with the number of its (last) line."""
    with path.open(encoding=ENCODING, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
        except csv.Error as error:
            raise csv.Error(f"line {reader.line_num}: {error}") from error


def _table_from_numbered_lines(argument: str, path: Path, lines: Sequence[str]) -> TextTable:
    numbers = [number for number, line in enumerate(lines, start=1) if line]
    columns: dict[str, list[str]] = {"image": [], "caption": []}
    for number in numbers:
        match = NUMBERED.fullmatch(lines[number - 1])
        if match is None:
            start = lines[number - 1][:80]
            rule = "must be name#number<TAB>caption as line 1 is"
            raise ValueError(f"{argument}: line {number} of {path} {rule}, got {start!r}")
        for name, values in columns.items():
            values.append(match[name])
    return _table_with_rows(argument, path, columns, numbers)


def table_of_objects(argument: str, path: Path, content: Any) -> TextTable:
    """The table that the content of a JSON file is."""
    values = content.values() if isinstance(content, dict) else [content]
    lists = [value for value in values if isinstance(value, list)]
    require(len(lists) == 1, "{} must be a JSON list of objects, or an object with one list, got {}", argument, path)
    return _table_from_objects(argument, path, "entry", list(enumerate(lists[0])))


def _table_from_json_lines(argument: str, path: Path) -> TextTable:
    objects = []
    for number, line in enumerate(read_lines(argument, path), start=1):
        try:
            objects += [(number, json.loads(line))] if line else []
        except ValueError as error:
            raise ValueError(f"{argument}: line {number} of {path} must be a JSON object, got {error}") from error
    return _table_from_objects(argument, path, "line", objects)


def _table_from_objects(argument: str, path: Path, kind: str, objects: Sequence[tuple[int, Any]]) -> TextTable:
    for number, row in objects:
        message = "{}: {} {} of {} must be a JSON object, got {}"
        require(isinstance(row, dict), message, argument, kind, number, path, type(row).__name__)
    names = dict.fromkeys(name for _, row in objects for name in row)
    columns = {name: [row.get(name) for _, row in objects] for name in names}
    return _table_with_rows(argument, path, columns, [number for number, _ in objects], kind)


def _table_with_rows(
    argument: str, path: Path, columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], kind: str = "line"
) -> TextTable:
    require(len(numbers) > 0, "{} must have at least one row of values, {} has none", argument, path)
    return TextTable(columns, [f"{kind} {number} of {path.name}" for number in numbers])
