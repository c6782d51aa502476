"""Metrics as a table that a person reads: both directions side by side, with the label source named."""

from collections.abc import Mapping
from typing import Any

_SHORT = {"recall_at": "R@", "ndcg_at": "NDCG@", "coherent_score_at": "CS@"}
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
            cells = (_shown(row, values.get(f"{direction}_{row}")) for direction in ("i2t", "t2i"))
            table.add_row(_label(row, labels), *cells)
    if rows:
        Console().print(table)


def _label(row: str, labels: Mapping[str, str]) -> str:
    """``ndcg_at_10_cider`` -> ``NDCG@10 (CIDEr-D)``."""
    for suffix, source in sorted(labels.items(), reverse=True):
        graded = row.startswith(("ndcg", "coherent"))
        if graded and row.endswith(suffix):
            return f"{_short(row.removesuffix(suffix))} ({source})"
    return _short(row)


def _short(row: str) -> str:
    name, _, number = row.rpartition("_")
    return _SHORT[name] + number if name in _SHORT else row.replace("_", " ")


def _shown(row: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if row.startswith("recall") else f"{value:.4g}"
