"""What is in a scene: its background and things, and the attributes that two scenes may share."""

from collections import Counter
from random import Random
from typing import NamedTuple

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
