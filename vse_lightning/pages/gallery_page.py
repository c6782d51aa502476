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

    It shows the selected rows of queries, by group for each direction; the ``other`` run, if there is one, ranked the
    same queries.
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
        metrics={label: _cells(label, columns, runs) for label in run.table},
        charts=rank_charts(runs),
        selected=selected,
        items=items,
    )


def _cells(label: str, columns: Sequence[str], runs: Mapping[str, RankedRun]) -> list[dict[str, str]]:
    """A metric of the first run in each column: the values of the runs by their letter."""
    tables = {letter: run.table.get(label, {}) for letter, run in runs.items()}
    together = "" in next(iter(tables.values()))  # of several directions, such as rsum
    return [
        {letter: table.get(column, "n/a") for letter, table in tables.items()}
        for column in ([""] if together else columns)
    ]
