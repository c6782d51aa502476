"""Metrics as a table that a person reads: both directions side by side, with the label source named."""

import re
from collections.abc import Mapping
from typing import Any

_SHORT = {
    "recall_at_": "R@",
    "recall_of_all_at_": "recall of all@",
    "ndcg_at_": "NDCG@",
    "coherent_score_at_": "CS@",
    "map_at_r": "mAP@R",
    "r_precision": "R-Precision",
    "eccv_": "ECCV ",
    "cxc_": "CxC ",
    "pmrp": "PMRP",
}
_SHARE = re.compile("recall_(of_all_)?at_")
_TITLES = {"val": "validation", "test": "test"}
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image", "i2i": "image → image", "t2t": "text → text"}
"""What people call the directions, in the order of columns."""


def print_results(metrics: Mapping[str, Any], stage: str, labels: Mapping[str, str]) -> None:
    """Print what was logged in a stage.

    Args:
        metrics: values by logged name. Those named as retrieval metrics are, ``test/i2t_recall_at_1`` or ``test/rsum``,
            stand by direction and in the field's form; whatever else there is stands below, as it is.
        stage: ``"val"`` or ``"test"``.
        labels: the label source of the plain names under ``""``, and of names with a suffix under that suffix.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    values = {name.removeprefix(f"{stage}/"): float(value) for name, value in metrics.items() if _is_ours(name, stage)}
    others = {name: float(value) for name, value in metrics.items() if not _is_ours(name, stage)}
    table = Table(title=f"{_TITLES[stage]}", title_justify="left")
    table.add_column("metric")
    directions = [key for key in DIRECTIONS if any(name.startswith(f"{key}_") for name in values)]
    for title in [DIRECTIONS[direction] for direction in directions] or [""]:
        table.add_column(title, justify="right")
    for row in dict.fromkeys(without_direction(name) for name in values):
        if row in values:
            table.add_row(row, f"{values[row]:.1f}")
        else:
            cells = (shown_value(row, values.get(f"{direction}_{row}")) for direction in directions)
            table.add_row(escape(metric_label(row, labels)), *cells)
    table.add_section()
    for name, value in others.items():
        table.add_row(escape(name), f"{value:#.4g}")
    if table.row_count:
        Console().print(table)


def _is_ours(name: str, stage: str) -> bool:
    found, _, metric = name.partition("/")
    return found == stage and (metric.partition("/")[0] == "rsum" or without_direction(metric) != metric)


def without_direction(name: str) -> str:
    """The name of a metric without the direction before it: ``i2t_recall_at_1`` -> ``recall_at_1``."""
    direction, _, row = name.partition("_")
    return row if direction in DIRECTIONS else name


def metric_label(row: str, labels: Mapping[str, str]) -> str:
    """What a metric is called in a table: ``ndcg_at_10_cider`` -> ``NDCG@10 (CIDEr-D)``.

    Args:
        row: its logged name without stage and direction.
        labels: label sources by suffix, as for :func:`print_results`.
    """
    for suffix, source in sorted(labels.items(), reverse=True):
        graded = row.startswith(("ndcg", "coherent"))
        if graded and row.endswith(suffix):
            return f"{_short(row.removesuffix(suffix))} ({source})"
    return _short(row)


def shown_value(row: str, value: float | None) -> str:
    """A value of the metric of a row: recalls in percent, others with four digits; nothing for None."""
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if _SHARE.search(row) else f"{value:#.4g}"


def _short(row: str) -> str:
    for name, short in _SHORT.items():
        row = row.replace(name, short)
    return row.replace("_", " ")
