"""Annotations that are checked: ``"no"`` is no truth value, ``"0.2"`` no number, and a number is no list of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import isclass, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch

P = ParamSpec("P")
R = TypeVar("R")

_PLAIN = {bool: bool | np.bool_, int: Integral, float: Real, str: str, Path: Path, NoneType: NoneType}
_CALLED = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    NoneType: "None",
}
_SEVERAL, _MAPPINGS = (tuple, list, Sequence), (dict, Mapping)
_LONGEST = 80  # of a value that a message shows


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that are not what the annotations of a function say; numpy's numbers and lists for tuples are.

    For constructors and other functions that are called rarely; compiled code is trusted. Ranges are the business of
    the function.

    Example:
        >>> @typed
        ... def crop(share: float, flip: bool = False, sizes: tuple[int, ...] = ()) -> None: ...
        >>> crop(0.5, flip="no")
        Traceback (most recent call last):
            ...
        ValueError: flip must be True or False, got 'no'
        >>> crop(0.5, sizes=[32, 64.5])
        Traceback (most recent call last):
            ...
        ValueError: every entry of sizes must be a whole number, got 64.5
    """

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.compiler.is_compiling():
            require_types(function, *args, **kwargs)
        return function(*args, **kwargs)

    return checked


def require_types(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Raise a ``ValueError`` unless the arguments are what the annotations of a function say; gives them by name.

    Too few, too many and unknown ones are left to the function.
    """
    positional, hints, exact = _annotated(function)
    given = dict(zip(positional, args, strict=False)) | kwargs
    for name, value in given.items():
        if name in hints and type(value) not in exact[name] and not _fits(value, hints[name]):
            raise ValueError(_problem(name, value, hints[name]))
    return given


def _problem(name: str, value: Any, hint: Any) -> str:
    for kind in _kinds(hint):
        for part, inner, entries in _parts(kind, value):
            wrong = [each for each in entries if not _fits(each, inner)]
            if wrong:
                return f"every {part} of {name} must be {_called(inner)}, got {_shown(wrong[0])}"
    alone = any(_is_several([value]) and _is_of(kind, [value]) for kind in _kinds(hint))
    return f"{name} must be {_called(hint)}, got {_shown(value)}" + (f": write ({value!r},)" if alone else "")


def _fits(value: Any, hint: Any) -> bool:
    return any(_is_of(kind, value) for kind in _kinds(hint))


def _is_of(kind: Any, value: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return isinstance(value, _PLAIN[kind]) and (kind is bool or not isinstance(value, bool))
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is Callable:
        return callable(value)
    if origin in (*_SEVERAL, *_MAPPINGS):
        parts = _parts(kind, value)
        as_many = origin is not tuple or inner[-1] is Ellipsis or not parts or len(value) == len(inner)
        return bool(parts) and as_many and all(_all_fit(entries, of) for _, of, entries in parts)
    return kind is Any or not isclass(kind) or Protocol in kind.__bases__ or isinstance(value, kind)


def _all_fit(entries: Iterable[Any], hint: Any) -> bool:
    if all(map(isclass, _kinds(hint))):  # one of each type says it all, and there may be a million captions
        entries = {type(each): each for each in entries}.values()
    return all(_fits(each, hint) for each in entries)


def _parts(kind: Any, value: Any) -> list[tuple[str, Any, Iterable[Any]]]:
    """What the entries of a container are called, must be, and are; nothing where a value is no such container.

    Objects among them are left to the function, which can say more.
    """
    origin, inner = get_origin(kind), [Any if isclass(of) and of not in _PLAIN else of for of in get_args(kind)]
    if origin in _MAPPINGS and isinstance(value, Mapping):
        return [("key", inner[0], value.keys()), ("entry", inner[1], value.values())]
    return [("entry", inner[0], value)] if origin in _SEVERAL and _is_several(value) else []


def _called(hint: Any) -> str:
    return " or ".join(dict.fromkeys(map(_called_one, _kinds(hint))))


def _called_one(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ("one of " if len(inner) > 1 else "") + ", ".join(map(repr, inner))
    if origin is Callable:
        return "a function"
    if origin in _MAPPINGS:
        return "a dict"
    if origin in _SEVERAL:
        return f"{len(inner) if origin is tuple and inner[-1] is not Ellipsis else 'several'} in a tuple or list"
    return _CALLED.get(kind) or _with_article(getattr(kind, "__name__", str(kind)))


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST and "\n" not in shown else _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_several(value: Any) -> bool:
    several = isinstance(value, Iterable) and hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0
    return several and not isinstance(value, str | bytes | Mapping)


@cache
def _annotated(function: Callable[..., Any]) -> tuple[list[str], dict[str, Any], dict[str, set[type]]]:
    """What can be given by position, the hints of single arguments, and types that fit them at a glance."""
    known = signature(function).parameters.values()
    positional = [each.name for each in known if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    several = {each.name for each in known if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    hints = {name: hint for name, hint in get_type_hints(function).items() if name not in several}
    exact = {name: {kind for kind in _kinds(hint) if isclass(kind)} for name, hint in hints.items()}
    return positional, hints, exact
