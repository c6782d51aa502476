"""Metrics as a table that a person reads: directions side by side, with the label source named."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_TITLES = {"val": "validation", "test": "test"}
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image", "i2i": "image → image", "t2t": "text → text"}
"""What people call the directions, in the order of columns."""


def printable(text: str) -> str:
    r"""Text for a terminal: control characters, which a name or a caption may hold, are written out.

    Example:
        >>> printable("dog\x1b[2J.jpg")
        'dog\\x1b[2J.jpg'
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


def print_line(line: str) -> None:
    """Print text in which nothing is markup, however long."""
    from rich.console import Console
    from rich.text import Text

    Console(soft_wrap=True).print(Text(printable(line)))


Baselines = Mapping[str, Mapping[str, float]]
"""Values by name under ``"random"`` and ``"ideal"``, as ``baselines()`` of a collection returns them."""

BASELINES_NOTE = "(random to ideal): what random scores, and the labels themselves as scores, get on the same gallery"


class Display(NamedTuple):
    """How tables show the values of a metric, which says so itself."""

    name: str  # NDCG@10
    direction: str = ""  # empty for a value of several directions together
    graded: bool = False  # whether the label source stands beside the name
    percent: bool = False

    def under(self, label: str | None) -> Display:
        """The same, naming the label source that the values of a graded metric depend on."""
        return self._replace(name=f"{self.name} ({label})") if self.graded and label else self

    def shown(self, value: float) -> str:
        """A value with four digits, or in percent."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:#.4g}"


class Row(NamedTuple):
    """A metric under one label source: a row of a table."""

    label: str  # NDCG@10 (CIDEr-D)
    display: Display
    names: dict[str, str]  # of its values, by direction

    def shown(self, name: str, value: float, baselines: Baselines = MappingProxyType({})) -> str:
        """A value, and beside it what random scores and the labels themselves get, if that is known of a graded one."""
        known = [of_kind[name] for of_kind in baselines.values() if name in of_kind]
        between = " to ".join("1" if baseline == 1 else f"{baseline:.3f}" for baseline in known)
        return self.display.shown(value) + (f" ({between})" if known and self.display.graded else "")


def table_rows(
    values: Mapping[str, Any], displays: Mapping[str, Display], labels: Mapping[str, str] = MappingProxyType({})
) -> list[Row]:
    """Arrange the values of metrics in rows, in the order of their first values.

    Names have the suffix of their labels if the metric is graded, and its dataloader after a slash if there are
    several; others are left out. The label sources are by suffix, that of the plain names under ``""``.

    Example:
        >>> displays = {"i2t_err": Display("ERR", "i2t", graded=True), "t2i_err": Display("ERR", "t2i", graded=True)}
        >>> (row,) = table_rows({"i2t_err_cider": 0.2, "t2i_err_cider": 0.3}, displays, {"_cider": "CIDEr-D"})
        >>> row.label, row.names
        ('ERR (CIDEr-D)', {'i2t': 'i2t_err_cider', 't2i': 't2i_err_cider'})
    """
    rows: dict[str, Row] = {}
    for name in values:
        metric, slash, loader = name.partition("/")
        for suffix in dict.fromkeys(("", *labels)):
            display = displays.get(metric.removesuffix(suffix))
            if display is None or not metric.endswith(suffix) or (suffix and not display.graded):
                continue
            label = display.under(labels.get(suffix)).name + slash + loader
            rows.setdefault(label, Row(label, display, {})).names[display.direction] = name
            break
    return list(rows.values())


def shown_table(
    values: Mapping[str, float],
    displays: Mapping[str, Display],
    labels: Mapping[str, str],
    baselines: Baselines = MappingProxyType({}),
) -> dict[str, dict[str, str]]:
    """Shown values by label and direction, of the metrics as in :func:`table_rows`, then of other names as they are."""
    rows = table_rows(values, displays, labels)
    table = {
        row.label: {key: row.shown(name, values[name], baselines) for key, name in row.names.items()} for row in rows
    }
    ours = {name for row in rows for name in row.names.values()}
    return table | {name: {"": f"{value:#.4g}"} for name, value in values.items() if name not in ours}


def print_results(
    metrics: Mapping[str, Any],
    stage: str,
    displays: Mapping[str, Display],
    labels: Mapping[str, str],
    baselines: Baselines = MappingProxyType({}),
) -> None:
    """Print what was logged in a stage, ``"val"`` or ``"test"``, as a :func:`shown_table`."""
    values = {name.removeprefix(f"{stage}/"): float(value) for name, value in metrics.items()}
    shown = shown_table(values, displays, labels, baselines)
    if shown:
        _print_table(_TITLES[stage], shown)
    if shown and baselines:
        print_line(BASELINES_NOTE)


def print_changes(
    before: Mapping[str, float],
    after: Mapping[str, float],
    displays: Mapping[str, Display],
    labels: Mapping[str, str],
) -> None:
    """Print what validation said before and after a fit, by logged name, and the difference."""
    before, after = ({name.removeprefix("val/"): value for name, value in of.items()} for of in (before, after))
    changes = {
        row.label: {
            direction: f"{row.display.shown(before[name])} → {row.display.shown(after[name])} "
            f"({'+' if after[name] >= before[name] else ''}{row.display.shown(after[name] - before[name])})"
            for direction, name in row.names.items()
            if name in before
        }
        for row in table_rows(after, displays, labels)
    }
    if changes:
        _print_table("validation, before → after", changes)


def _print_table(title: str, shown: Mapping[str, Mapping[str, str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    columns = table_columns(shown) or [""]
    table = Table(Column("metric", no_wrap=True), title=title, title_justify="left")
    for column in columns:
        table.add_column(DIRECTIONS.get(column, ""), justify="right", no_wrap=True)
    for label, cells in shown.items():
        named = escape(printable(label))
        table.add_row(named, *([cells[""]] if "" in cells else [cells.get(column, "") for column in columns]))
    console = Console()
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    Console(width=max(console.width, needed)).print(table)  # a line of the terminal may break, a value in its cell not


def table_columns(table: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The directions that a :func:`shown_table` has values of, in the order of columns."""
    return [direction for direction in DIRECTIONS if any(direction in cells for cells in table.values())]
