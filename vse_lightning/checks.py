"""One line per rule: what is wrong with an argument, said the same way everywhere."""

import re
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from math import isfinite
from numbers import Integral
from pathlib import Path

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""What to install for a module, where it is not the module's name with hyphens."""
SAME_LIGHTNING = "write 'import lightning.pytorch as pl' in place of 'import pytorch_lightning as pl'"


def require(condition: bool, message: str, *found: object) -> None:
    """Raise a ``ValueError`` unless the condition holds.

    The message names the argument and the rule, with a ``{}`` for each thing found; shapes are shown as tuples.

    Example:
        >>> require(0 > 1, "k must be at least 1, got {}", 0)
        Traceback (most recent call last):
            ...
        ValueError: k must be at least 1, got 0
    """
    if not condition:
        shown = [tuple(thing) if isinstance(thing, tuple) else thing for thing in found]
        raise ValueError(message.format(*shown))


def require_positive(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless the value is a finite number above 0."""
    require(_is_finite(value) and value > 0, "{} must be a finite number above 0, got {!r}", name, value)


def require_not_negative(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless the value is a finite number of at least 0."""
    require(_is_finite(value) and value >= 0, "{} must be a finite number of at least 0, got {!r}", name, value)


def require_share(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless the value lies in [0, 1]."""
    require(_is_finite(value) and 0 <= value <= 1, "{} must lie in [0, 1], got {!r}", name, value)


def _is_finite(value: object) -> bool:
    try:
        return isfinite(value)  # type: ignore[arg-type]
    except TypeError:  # no number at all
        return False


def require_falling(name: str, values: tuple[float, ...], highest: float, where: str = "") -> None:
    """Raise a ``ValueError`` unless the values lie in [0, highest] and are strictly decreasing."""
    falling = all(upper > lower for upper, lower in pairwise(values))
    require(falling, "{} must be strictly decreasing, got {}", name, values)
    require(all(0 <= value <= highest for value in values), "{} must lie in [0, {}]{}, got {}", name, highest, where,
            values)  # fmt: skip


def require_whole(name: str, value: object, least: int = 1) -> None:
    """Raise a ``ValueError`` unless the value is a whole number of at least ``least``."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    require(whole and value >= least, "{} must be a whole number of at least {}, got {!r}", name, least, value)  # type: ignore[operator]


def require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` unless the value is one of the words allowed."""
    require(value in allowed, "{} must be one of {}, got {!r}", name, ", ".join(map(repr, allowed)), value)


def require_name(argument: str, name: object) -> None:
    """Raise a ``ValueError`` unless a name that the user chose can be part of a logged name and of a module's.

    MLflow refuses ``@`` and parentheses, PyTorch dots, and a slash would make groups in every logger.
    """
    possible = isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) is not None
    rule = "{} must have names of letters, digits, '_' and '-' that begin with a letter, got {!r}"
    require(possible, rule, argument, name)


def require_lightning(what: str, trainer: object) -> None:
    """Raise a ``TypeError`` if a Trainer is one of ``pytorch_lightning``, to which our classes are strangers."""
    if any(base.__module__.partition(".")[0] == "pytorch_lightning" for base in type(trainer).__mro__):
        raise TypeError(f"{what} belongs to the package lightning, the Trainer to pytorch_lightning: {SAME_LIGHTNING}")


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Raise a ``ModuleNotFoundError`` unless the modules that an extra brings are installed; none of them is imported.

    Example:
        >>> require_extra("TimmImageEncoder", "models", "no_such_module")
        Traceback (most recent call last):
            ...
        ModuleNotFoundError: TimmImageEncoder needs no-such-module: pip install "vse-lightning[models]"
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        names = ", ".join(DISTRIBUTIONS.get(module, module.replace("_", "-")) for module in missing)
        raise ModuleNotFoundError(f'{what} needs {names}: pip install "vse-lightning[{extra}]"', name=missing[0])


def require_text(name: str, captions: Sequence[object]) -> None:
    r"""Raise a ``ValueError`` unless all are strings that can be written as UTF-8; the message names the first row.

    What cannot is half of a surrogate pair, which a text cut in the middle of an emoji leaves behind.

    Example:
        >>> require_text("captions", ["a dog", "a cat \ud83d"])
        Traceback (most recent call last):
            ...
        ValueError: captions must be text that can be written as UTF-8, got half of a character, '\ud83d', in row 1:
        'a cat \ud83d'
    """
    several = hasattr(captions, "__len__") and not isinstance(captions, str)
    require(several, "{} must be a list of texts, got the single {} {!r}", name, type(captions).__name__, captions)
    for row, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise ValueError(f"{name} must be texts, got {caption!r} ({type(caption).__name__}) in row {row}")
        try:
            caption.encode()
        except UnicodeEncodeError as error:
            half = caption[error.start : error.start + 1]
            raise ValueError(
                f"{name} must be text that can be written as UTF-8, got half of a character, {half!r}, in row {row}: "
                f"{caption!r}"
            ) from None


def is_own(path: Path, mark: str) -> bool:
    """Whether a file begins with the mark that we leave in what we write."""
    with path.open("rb") as file:
        return mark.encode() in file.read(4096)


def require_writable(folder: Path, rule: str, remedy: str = "") -> None:
    """Make the folder if need be; raise an ``OSError`` of the rule and the remedy unless files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{rule}, got {folder} ({error.strerror}){remedy}") from error
