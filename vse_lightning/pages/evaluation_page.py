"""The page of an evaluation: models beside each other, with floors, intervals and stars, and their hardest queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Protocol

from vse_lightning.functional.directions import Direction
from vse_lightning.pages import render
from vse_lightning.pages.items import Items
from vse_lightning.pages.rank_chart import rank_charts
from vse_lightning.pages.ranked_run import RankedRun
from vse_lightning.report import DIRECTIONS, metric_label, shown_value, without_direction

_HARDEST = 5


class Result(Protocol):
    """One metric of one model."""

    @property
    def value(self) -> float:
        """Over all queries."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the value."""

    @property
    def p_value(self) -> float | None:
        """Of the difference from the first model."""


def evaluation_page(
    results: Mapping[str, Mapping[str, Result]],
    *,
    labels: Mapping[str, str],
    notes: Sequence[str] = (),
    level: float = 0.05,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    runs: Sequence[RankedRun] = (),
    items: Items | None = None,
) -> str:
    """The whole page as one HTML document without references.

    Args:
        results: by model and by the name of the metric, with its direction.
        labels: label sources by the suffix of the metrics that use them.
        notes: what a reader must know of the values.
        level: p-values below it get a star.
        baselines: values by metric of ``"random"`` scores and of the ``"ideal"`` order, as far as they are known.
        runs: what models of ``results`` retrieved for the same queries, with ``items``; none: neither curves nor lists.
        items: the captions, and pictures if there are any.
    """
    letters = {model: ascii_uppercase[place] if place < 26 else str(place + 1) for place, model in enumerate(results)}
    floors = {"random": {}, "ideal": {}, **(baselines or {})}
    sections: dict[str, list[_Row]] = {}
    for name in next(iter(results.values())):
        of_models = {letters[model]: of_model[name] for model, of_model in results.items()}
        row = _Row.of(name, of_models, floors["random"].get(name), floors["ideal"].get(name), labels, level)
        sections.setdefault(DIRECTIONS.get(name.partition("_")[0], "both directions"), []).append(row)
    lettered = {letters[run.name]: run for run in runs}
    return render(
        "evaluation.html",
        title="Evaluation",
        models={letter: model for model, letter in letters.items()},
        facts={"labels": ", ".join(labels.values())} if labels else {},
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


@dataclass(frozen=True)
class _Cell:
    shown: str
    interval: str
    star: bool
    share: float | None  # of the way from random to ideal


@dataclass(frozen=True)
class _Row:
    label: str
    random: str
    ideal: str
    cells: dict[str, _Cell]  # by the letter of the model

    @classmethod
    def of(
        cls,
        name: str,
        results: Mapping[str, Result],
        random: float | None,
        ideal: float | None,
        labels: Mapping[str, str],
        level: float,
    ) -> _Row:
        row = without_direction(name)
        cells = {}
        for letter, result in results.items():
            ends = [shown_value(row, end).removesuffix(" %") for end in result.interval or ()]
            share = None
            if random is not None and ideal is not None and random != ideal:
                share = min(max((result.value - random) / (ideal - random), 0), 1)
            star = result.p_value is not None and result.p_value < level
            cells[letter] = _Cell(shown_value(row, result.value), ", ".join(ends), star, share)
        return cls(metric_label(row, labels), shown_value(row, random), shown_value(row, ideal), cells)
