"""The metrics of one run, or of two beside each other."""

from __future__ import annotations

from vse_lightning.pages.markup import Markup, element
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS, metric_label, shown_value, without_direction


def metrics_table(runs: dict[str, RankedRun]) -> Markup:
    """A row for each metric of the first run, a column for each direction; in a cell, the runs by their letter."""
    first = next(iter(runs.values()))
    names = dict.fromkeys(map(without_direction, first.metrics))
    directions = [key for key in DIRECTIONS if any(name.startswith(f"{key}_") for name in first.metrics)]
    heads = ("metric", *(DIRECTIONS[direction] for direction in directions))
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    return element(
        "table",
        element("thead", head),
        element("tbody", *(_row(name, directions, runs) for name in names)),
        class_="metrics",
    )


def _row(name: str, directions: list[str], runs: dict[str, RankedRun]) -> Markup:
    first = next(iter(runs.values()))
    heading = element("th", metric_label(name, first.metric_labels), scope="row")
    if name in first.metrics:  # of both directions together, such as rsum
        return element("tr", heading, element("td", *_values(name, runs), colspan=len(directions)))
    return element("tr", heading, *(element("td", *_values(f"{key}_{name}", runs)) for key in directions))


def _values(name: str, runs: dict[str, RankedRun]) -> list[Markup]:
    values = []
    for letter, run in runs.items():
        value = run.metrics.get(name)
        badge = [element("b", letter, class_=f"run {letter}")] if len(runs) > 1 else []
        values.append(element("span", *badge, shown_value(without_direction(name), value) or "n/a", class_="value"))
    return values
