"""What was found, as tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vse_lightning.cli.search.answers import Answer
from vse_lightning.cli.search.index_file import SearchIndex
from vse_lightning.report import print_line, printable


def print_answers(answers: list[Answer], index: SearchIndex) -> None:
    """Print a table for each query."""
    for answer in answers:
        asked = answer.query.text if answer.query.picture else f"“{answer.query.text}”"
        print_line(f"\n{asked} → {answer.find}")
        Console().print(_images(answer, index) if answer.find == "images" else _captions(answer, index))


def _images(answer: Answer, index: SearchIndex) -> Table:
    table = _table("picture", *(["caption"] if index.captions else []))
    for rank, (row, score) in enumerate(answer.hits, start=1):
        first = (Text(printable(caption)) for caption in index.captions_of(row)[:1])
        table.add_row(str(rank), f"{score:z.3f}", Text(printable(index.names[row])), *first)
    return table


def _captions(answer: Answer, index: SearchIndex) -> Table:
    table = _table("caption", "picture")
    for rank, (row, score) in enumerate(answer.hits, start=1):
        name = index.names[int(index.text_image_rows[row])]
        table.add_row(str(rank), f"{score:z.3f}", Text(printable(index.captions[row])), Text(printable(name)))
    return table


def _table(*columns: str) -> Table:
    table = Table()
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
