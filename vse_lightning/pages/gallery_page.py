"""The page of one run, or of two beside each other: metrics, relevance by rank, and what queries retrieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vse_lightning.functional.directions import Direction
from vse_lightning.pages import render
from vse_lightning.pages.items import Items
from vse_lightning.pages.rank_chart import rank_charts
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS, metric_label, shown_value, without_direction


def gallery_page(
    run: RankedRun,
    selected: Mapping[Direction, Mapping[str, Sequence[int]]],
    items: Items,
    facts: Mapping[str, str],
    other: RankedRun | None = None,
) -> str:
    """The whole page as one HTML document without references.

    Args:
        run: what to show.
        selected: rows of the queries to show, by group, for each direction.
        items: pictures and captions.
        facts: what else the head of the page says, by name.
        other: a run that ranked the same queries, to show beside.
    """
    runs = {"A": run} if other is None else {"A": run, "B": other}
    columns = [key for key in DIRECTIONS if any(name.startswith(f"{key}_") for name in run.metrics)]
    names = dict.fromkeys(map(without_direction, run.metrics))
    return render(
        "gallery.html",
        title="Retrieval gallery",
        stage={"val": "validation", "test": "test"}[run.stage],
        runs=runs,
        facts=facts,
        directions=DIRECTIONS,
        columns=columns,
        metrics=[_Row(name, columns, runs) for name in names],
        charts=rank_charts(runs),
        selected=selected,
        items=items,
    )


class _Row:
    """A metric of the first run; in ``cells``, the values of the runs by their letter."""

    def __init__(self, name: str, columns: Sequence[str], runs: Mapping[str, RankedRun]) -> None:
        first = next(iter(runs.values()))
        self.label = metric_label(name, first.metric_labels)
        # of both directions together, such as rsum, or of each
        logged = [name] if name in first.metrics else [f"{direction}_{name}" for direction in columns]
        self.cells = [
            {letter: shown_value(name, run.metrics.get(full)) or "n/a" for letter, run in runs.items()}
            for full in logged
        ]
