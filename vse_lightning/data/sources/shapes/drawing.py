"""Draw a scene."""

from __future__ import annotations

from math import cos, pi, sin
from random import Random
from typing import TYPE_CHECKING

from vse_lightning.data.sources.shapes.scene import BACKGROUNDS, COLOURS, COLUMNS, ROWS, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[float, float]

SUPERSAMPLING = 2  # drawn larger and averaged down: PIL draws hard edges
RADIUS = {"small": 0.085, "large": 0.15}  # of the picture's width; a cell of the grid is a third wide


def _star() -> list[Point]:
    radii = (1.1, 0.45) * 5
    return [(radius * sin(pi * k / 5), -radius * cos(pi * k / 5)) for k, radius in enumerate(radii)]


def _cross() -> list[Point]:
    arm = [(-0.33, -0.33), (-0.33, -1.0), (0.33, -1.0)]  # the upper one; the others are turned by quarters
    turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
    return [(cosine * x - sine * y, sine * x + cosine * y) for cosine, sine in turns for x, y in arm]


def _heart() -> list[Point]:
    turns = [2 * pi * k / 24 for k in range(24)]
    return [(sin(t) ** 3, -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 15 - 0.1) for t in turns]


OUTLINES: dict[str, list[Point]] = {  # around the origin, about one unit in radius, y down
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1.0), (1.0, 0.8), (-1.0, 0.8)],
    "star": _star(),
    "cross": _cross(),
    "diamond": [(0, -1.15), (0.7, 0), (0, 1.15), (-0.7, 0)],
    "heart": _heart(),
}


def draw_scene(scene: Scene, size: int, random: Random) -> Image:
    """Draw a scene as an RGB picture of ``size`` x ``size`` pixels; ``random`` shifts, scales and tints a little."""
    from PIL import Image, ImageDraw

    width = size * SUPERSAMPLING
    picture = Image.new("RGB", (width, width), _tinted(BACKGROUNDS[scene.background], random))
    canvas = ImageDraw.Draw(picture)
    for thing in scene.things:
        x = width * (COLUMNS.index(thing.column) + 0.5 + random.uniform(-0.06, 0.06)) / 3
        y = width * (ROWS.index(thing.row) + 0.5 + random.uniform(-0.06, 0.06)) / 3
        radius = width * RADIUS[thing.size] * random.uniform(0.9, 1.05)
        colour = _tinted(COLOURS[thing.colour], random)
        box = (x - radius, y - radius, x + radius, y + radius)
        if thing.shape == "circle":
            canvas.ellipse(box, fill=colour)
        elif thing.shape == "ring":
            canvas.ellipse(box, outline=colour, width=max(1, round(radius * 0.35)))
        else:
            canvas.polygon([(x + radius * u, y + radius * v) for u, v in OUTLINES[thing.shape]], fill=colour)
    return picture.reduce(SUPERSAMPLING)


def _tinted(colour: tuple[int, int, int], random: Random) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, channel + random.randint(-8, 8))) for channel in colour)
    return red, green, blue
