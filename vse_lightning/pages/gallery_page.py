"""The page of one run, or of two beside each other: metrics, relevance by rank, and what queries retrieved."""

from collections.abc import Mapping, Sequence

from vse_lightning.functional.directions import Direction
from vse_lightning.pages import render
from vse_lightning.pages.items import Items
from vse_lightning.pages.rank_chart import rank_charts
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS, table_columns


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
    columns = table_columns(run.table)
    return render(
        "gallery.html",
        title="Retrieval gallery",
        stage={"val": "validation", "test": "test"}[run.stage],
        runs=runs,
        facts=facts,
        directions=DIRECTIONS,
        columns=columns,
        metrics=[_Row(label, columns, runs) for label in run.table],
        charts=rank_charts(runs),
        selected=selected,
        items=items,
    )


class _Row:
    """A metric of the first run; in ``cells``, the values of the runs by their letter."""

    def __init__(self, label: str, columns: Sequence[str], runs: Mapping[str, RankedRun]) -> None:
        self.label = label
        tables = {letter: run.table.get(label, {}) for letter, run in runs.items()}
        together = "" in next(iter(tables.values()))  # of several directions, such as rsum
        self.cells = [
            {letter: table.get(column, "n/a") for letter, table in tables.items()}
            for column in ([""] if together else columns)
        ]
