"""Mean relevance by rank as a line chart: where everything stands in it."""

from collections.abc import Mapping
from math import log

from torch import Tensor

from vse_lightning.functional.directions import Direction
from vse_lightning.pages.ranked_run import RankedRun

_ROUND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class RankChart:
    """Places in an SVG with the ranks on a logarithmic axis, for the template that draws it.

    Curves ``(R,)`` are values in [0, 1] by the name of the line, which is its CSS class too.
    """

    width, height = 440, 272
    left, right, top, bottom = 44, 422, 12, 226

    def __init__(self, curves: Mapping[str, Tensor]) -> None:
        self.curves = {name: values.tolist() for name, values in curves.items()}
        self.depth = max(map(len, self.curves.values()))
        self.ranks = [rank for rank in _ROUND if rank <= self.depth]

    def x(self, rank: int) -> float:
        """Where a rank is."""
        share = log(rank) / log(self.depth) if self.depth > 1 else 0.5
        return round(self.left + (self.right - self.left) * share, 1)

    def y(self, value: float) -> float:
        """Where a value is."""
        return round(self.bottom - (self.bottom - self.top) * value, 1)

    def points(self, name: str) -> str:
        """The corners of a line."""
        return " ".join(f"{self.x(rank)},{self.y(value)}" for rank, value in enumerate(self.curves[name], start=1))


def rank_charts(runs: Mapping[str, RankedRun]) -> dict[Direction, RankChart]:
    """For each direction the runs, by their letter, and the ``"ideal"`` order of the first."""
    charts = {}
    for direction, first in next(iter(runs.values())).directions.items():
        curves = {letter: run.directions[direction].curve for letter, run in runs.items()}
        charts[direction] = RankChart({**curves, "ideal": first.ideal})
    return charts
