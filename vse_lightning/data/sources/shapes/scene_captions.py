"""Five ways to put a scene into words: full, plain, relational, partial and in summary."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from vse_lightning.data.sources.shapes.scene import COLUMNS, ROWS, Scene, Thing

SYNONYMS = {
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
    "circle": ("circle", "circle", "disc", "round spot"),
    "square": ("square", "square", "box"),
    "cross": ("cross", "cross", "plus sign"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "ring": ("ring", "ring", "hoop"),
    "red": ("red", "red", "red", "crimson"),
    "purple": ("purple", "purple", "purple", "violet"),
    "turquoise": ("turquoise", "turquoise", "cyan"),
    "grey": ("grey", "grey", "gray"),
}
PLACES = {
    ("top", "left"): ("in the top left corner", "at the upper left"),
    ("top", "middle"): ("at the top", "near the top"),
    ("top", "right"): ("in the top right corner", "at the upper right"),
    ("middle", "left"): ("on the left", "on the left side"),
    ("middle", "middle"): ("in the middle", "in the centre"),
    ("middle", "right"): ("on the right", "on the right side"),
    ("bottom", "left"): ("in the bottom left corner", "at the lower left"),
    ("bottom", "middle"): ("at the bottom", "near the bottom"),
    ("bottom", "right"): ("in the bottom right corner", "at the lower right"),
}
NUMBERS = {1: "one", 2: "two", 3: "three"}


def write_captions(scene: Scene, random: Random) -> list[str]:
    """Write five captions of a scene in a random order: no two say the same, and most leave something out."""
    writers = [_full, _plain, _relation, _partial, _summary]
    captions = [writer(scene, random.sample(scene.things, len(scene.things)), random) for writer in writers]
    random.shuffle(captions)
    return [caption[0].upper() + caption[1:] + random.choice((".", ".", " .", "")) for caption in captions]


def _full(scene: Scene, things: Sequence[Thing], random: Random) -> str:
    placed = [f"{_a(_thing(thing, random, sized=True))} {_place(thing, random)}" for thing in things]
    return f"{_listed(placed)}, {_on_background(scene, random)}"


def _plain(scene: Scene, things: Sequence[Thing], random: Random) -> str:
    listed = _listed([_a(_thing(thing, random)) for thing in things])
    return f"{listed} {_on_background(scene, random)}" if random.random() < 0.5 else f"a picture of {listed}"


def _relation(scene: Scene, things: Sequence[Thing], random: Random) -> str:
    if len(things) == 1:
        alone = _thing(things[0], random, sized=True)
        return random.choice((f"a single {alone}", f"nothing but {_a(alone)}")) + " " + _place(things[0], random)
    first, second = things[:2]
    across = COLUMNS.index(first.column) - COLUMNS.index(second.column)
    down = ROWS.index(first.row) - ROWS.index(second.row)
    if across and (not down or random.random() < 0.5):
        relation = random.choice(("to the left of", "left of") if across < 0 else ("to the right of", "right of"))
    else:
        relation = random.choice(("above", "over") if down < 0 else ("below", "under"))
    return f"the {_thing(first, random)} is {relation} {_a(_thing(second, random))}"


def _partial(scene: Scene, things: Sequence[Thing], random: Random) -> str:
    seen = f"there is {_a(_thing(things[0], random, sized=True))} {_place(things[0], random)}"
    others = len(things) - 1
    if others and random.random() < 0.5:
        return f"{seen} and {_counted('other shape', others)}"
    return seen


def _summary(scene: Scene, things: Sequence[Thing], random: Random) -> str:
    colours = Counter(thing.colour for thing in things)
    shapes = Counter(thing.shape for thing in things)
    counted = colours if random.random() < 0.5 else shapes
    kinds = [_word(kind, random) + (" shape" if counted is colours else "") for kind in counted]
    groups = [_counted(kind, count) for kind, count in zip(kinds, counted.values(), strict=True)]
    return f"{_listed(groups)} {_on_background(scene, random)}"


def _counted(noun: str, count: int) -> str:
    plural = "" if count == 1 else "es" if noun[-1] in "sx" else "s"
    return f"{NUMBERS[count]} {noun}{plural}"


def _thing(thing: Thing, random: Random, *, sized: bool = False) -> str:
    words = (thing.size, thing.colour, thing.shape) if sized else (thing.colour, thing.shape)
    return " ".join(_word(word, random) for word in words)


def _place(thing: Thing, random: Random) -> str:
    return random.choice(PLACES[thing.row, thing.column])


def _on_background(scene: Scene, random: Random) -> str:
    colour = _word(scene.background, random)
    return random.choice((f"on a {colour} background", f"on {colour}", f"against a {colour} backdrop"))


def _word(word: str, random: Random) -> str:
    return random.choice(SYNONYMS.get(word, (word,)))


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
