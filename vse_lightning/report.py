"""Metrics as a table that a person reads: both directions side by side, with the label source named."""

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
}
_TITLES = {"val": "validation", "test": "test"}


def print_results(metrics: Mapping[str, Any], stage: str, labels: Mapping[str, str]) -> None:
    """Print the metrics of a stage.

    Args:
        metrics: values by logged name, such as ``test/i2t_recall_at_1``; other stages are left out.
        stage: ``"val"`` or ``"test"``.
        labels: the label source of the plain names under ``""``, and of names with a suffix under that suffix.
    """
    from rich.console import Console
    from rich.table import Table

    values = {name.removeprefix(f"{stage}/"): float(value) for name, value in metrics.items() if name.startswith(stage)}
    table = Table(title=f"{_TITLES[stage]}", title_justify="left")
    table.add_column("metric")
    table.add_column("image → text", justify="right")
    table.add_column("text → image", justify="right")
    rows = dict.fromkeys(name.removeprefix("i2t_").removeprefix("t2i_") for name in values)
    for row in rows:
        if row in values:
            table.add_row(row, f"{values[row]:.1f}", "")
        else:
            cells = (shown_value(row, values.get(f"{direction}_{row}")) for direction in ("i2t", "t2i"))
            table.add_row(metric_label(row, labels), *cells)
    if rows:
        Console().print(table)


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
    return f"{100 * value:.1f} %" if "recall" in row else f"{value:#.4g}"


def _short(row: str) -> str:
    for name, short in _SHORT.items():
        row = row.replace(name, short)
    return row.replace("_", " ")
