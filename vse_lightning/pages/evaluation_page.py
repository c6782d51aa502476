"""The page of an evaluation: models beside each other, with floors, intervals and stars, and their hardest queries."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, NamedTuple

from vse_lightning.functional.directions import Direction
from vse_lightning.functional.significance import Interval
from vse_lightning.pages import render
from vse_lightning.pages.items import Items
from vse_lightning.pages.rank_chart import rank_charts
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS, Baselines, Display, Row, table_rows

_HARDEST = 5


class Result(NamedTuple):
    """One metric of one model."""

    value: float
    display: Display  # with its label source
    interval: Interval | None = None  # of the value, if asked for and the metric is a mean
    p_value: float | None = None  # of the difference from the first model, for others if the metric is a mean

    def as_json(self) -> dict[str, Any]:
        """What is known, by name."""
        known = {"value": self.value, "interval": self.interval, "p_value": self.p_value}
        return {name: value for name, value in known.items() if value is not None}


def evaluation_page(
    results: Mapping[str, Mapping[str, Result]],
    *,
    notes: Sequence[str] = (),
    level: float = 0.05,
    baselines: Baselines = MappingProxyType({}),
    runs: Sequence[RankedRun] = (),
    items: Items | None = None,
) -> str:
    """The whole page as one HTML document without references, of results by model and by the name of the metric.

    Curves and lists are of ``runs``, what models of ``results`` retrieved for the same queries, with their ``items``.
    """
    letters = {model: ascii_uppercase[place] if place < 26 else str(place + 1) for place, model in enumerate(results)}
    first = next(iter(results.values()))
    sections: dict[str, list[_Row]] = {}
    rows = table_rows(first, {name: result.display for name, result in first.items()})
    for direction, title in {**DIRECTIONS, "": "several directions"}.items():
        for row in rows:
            if name := row.names.get(direction):
                floor, ceiling = (baselines.get(kind, {}).get(name) for kind in ("random", "ideal"))
                of_models = {letters[model]: of_model[name] for model, of_model in results.items()}
                sections.setdefault(title, []).append(_row(row, of_models, floor, ceiling, level))
    lettered = {letters[run.name]: run for run in runs}
    return render(
        "evaluation.html",
        title="Evaluation",
        facts={},
        models={letter: model for model, letter in letters.items()},
        notes=notes,
        with_baselines=bool(baselines),
        sections=sections,
        directions=DIRECTIONS,
        runs=lettered,
        charts=rank_charts(lettered) if runs else {},
        hardest=_hardest(runs[0]) if runs else {},
        items=items,
    )


def _hardest(run: RankedRun) -> dict[Direction, list[int]]:
    return {direction: ranked.select(_HARDEST, seed=0)["worst"] for direction, ranked in run.directions.items()}


class _Cell(NamedTuple):
    shown: str
    interval: str
    star: bool
    share: float | None  # of the way from random to ideal


class _Row(NamedTuple):
    label: str
    random: str
    ideal: str
    cells: dict[str, _Cell]  # by the letter of the model


def _row(row: Row, results: Mapping[str, Result], random: float | None, ideal: float | None, level: float) -> _Row:
    cells, show = {}, row.display.shown
    for letter, result in results.items():
        share = None
        if random is not None and ideal is not None and random != ideal:
            share = min(max((result.value - random) / (ideal - random), 0), 1)
        star = result.p_value is not None and result.p_value < level
        interval = ", ".join(show(end).removesuffix(" %") for end in result.interval or ())
        cells[letter] = _Cell(show(result.value), interval, star, share)
    floor, ceiling = ("" if value is None else show(value) for value in (random, ideal))
    return _Row(row.label, floor, ceiling, cells)
