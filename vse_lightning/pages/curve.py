"""Relevance by rank: a line chart as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from torch import Tensor

from vse_lightning.pages.markup import Markup, element, join

_WIDTH, _HEIGHT = 440, 272
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 422, 12, 226
_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def curve_chart(title: str, curves: Mapping[str, Tensor]) -> Markup:
    """Draw mean relevance over rank, the ranks on a logarithmic axis.

    Args:
        title: what a screen reader says first.
        curves: ``(R,)`` values in [0, 1] by the name of the line, which is its CSS class too.
    """
    depth = max(map(len, curves.values()))
    spoken = "; ".join(
        f"{name} {values[0]:.2f} at rank 1, {values[-1]:.2f} at rank {len(values)}" for name, values in curves.items()
    )
    lines = [
        element("polyline", points=_points(values, depth), class_=f"line {name}") for name, values in curves.items()
    ]
    return element(
        "svg",
        _grid(depth),
        *lines,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}: {spoken}",
        class_="chart",
    )


def curve_table(curves: Mapping[str, Tensor], headings: Mapping[str, object]) -> Markup:
    """The same in numbers, at round ranks."""
    depth = max(map(len, curves.values()))
    ranks = [rank for rank in (1, 2, 5, 10, 20, 50, 100) if rank <= depth]
    rows = [
        element("tr", element("th", headings[name], scope="row"), *(element("td", _at(values, rank)) for rank in ranks))
        for name, values in curves.items()
    ]
    heads = [element("th", rank, scope="col") for rank in ranks]
    head = element("thead", element("tr", element("th", "rank", scope="col"), *heads))
    return element("table", head, element("tbody", *rows), class_="numbers")


def _at(values: Tensor, rank: int) -> str:
    return f"{values[rank - 1]:.2f}" if rank <= len(values) else ""


def _x(rank: int, depth: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (log(rank) / log(depth) if depth > 1 else 0.5)


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value


def _points(values: Tensor, depth: int) -> str:
    return " ".join(f"{_x(rank, depth):.1f},{_y(value):.1f}" for rank, value in enumerate(values.tolist(), start=1))


def _grid(depth: int) -> Markup:
    parts = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        y = f"{_y(value):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="axis" if value == 0 else "grid"))
        parts.append(element("text", f"{value:g}", x=_LEFT - 7, y=y, dy="0.35em", text_anchor="end"))
    for rank in _RANKS:
        if rank <= depth:
            x = f"{_x(rank, depth):.1f}"
            parts.append(element("line", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 5, class_="axis"))
            parts.append(element("text", rank, x=x, y=_BOTTOM + 20, text_anchor="middle"))
    parts.append(element("text", "rank", x=(_LEFT + _RIGHT) // 2, y=_HEIGHT - 4, text_anchor="middle"))
    return join(*parts)
