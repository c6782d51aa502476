"""What is in a scene, its background and things; the attributes that two scenes may share; and how it is drawn."""

from __future__ import annotations

from collections import Counter
from math import cos, pi, sin
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[float, float]

COLOURS = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "purple": (130, 50, 170),
    "pink": (250, 120, 190),
    "brown": (125, 75, 40),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "grey": (145, 145, 145),
    "beige": (228, 212, 178),
    "turquoise": (70, 205, 200),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "ring", "heart")
SIZES = ("small", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "middle", "right")
HOW_MANY = (1, 2, 2, 3, 3)  # a lone thing leaves its shorter captions little to tell scenes apart by
SUPERSAMPLING = 2  # drawn larger and averaged down: PIL draws hard edges
RADIUS = {"small": 0.085, "large": 0.15}  # of the picture's width; a cell of the grid is a third wide


class Thing(NamedTuple):
    """One coloured shape, in one cell of the scene's 3 x 3 grid."""

    size: str
    colour: str
    shape: str
    row: str
    column: str


class Scene(NamedTuple):
    """One to three things on a background; no two share a cell."""

    background: str
    things: tuple[Thing, ...]


def sample_scene(random: Random) -> Scene:
    """Draw background, number of things and everything about them independently."""
    background = random.choice(list(BACKGROUNDS))
    cells = random.sample([(row, column) for row in ROWS for column in COLUMNS], random.choice(HOW_MANY))
    things = [
        Thing(random.choice(SIZES), random.choice(list(COLOURS)), random.choice(SHAPES), row, column)
        for row, column in cells
    ]
    return Scene(background, tuple(things))


def scene_attributes(scene: Scene) -> set[str]:
    """All that can be said of a scene: background, number of things, and of each the properties and the kind.

    The properties are size, colour, shape, row and column; the kind is colour and shape together. What is true of
    several things counts once for each: ``"colour red 1"`` and ``"colour red 2"`` for two red things.

    Example:
        >>> red_star = Thing("large", "red", "star", "top", "left")
        >>> sorted(scene_attributes(Scene("white", (red_star,))))
        ['colour red 1', 'column left 1', 'kind red star 1', 'on white 1', 'row top 1', 'shape star 1', 'size large 1',
         'things 1']
    """
    counts = Counter([f"on {scene.background}"])
    counts["things"] = len(scene.things)
    for thing in scene.things:
        counts.update(f"{name} {value}" for name, value in thing._asdict().items())
        counts[f"kind {thing.colour} {thing.shape}"] += 1
    return {f"{attribute} {nth}" for attribute, count in counts.items() for nth in range(1, count + 1)}


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
