"""Encoders that a checkpoint can make again, because it says how they were made."""

import inspect
import sys
from pathlib import PurePath
from typing import Any, Self


class Rebuildable:
    """Remembers the arguments that it was made with; a base beside ``nn.Module``.

    Attributes:
        init_args: the arguments given to the constructor, by name; paths as texts.
    """

    init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the object, and keep the arguments for :func:`recipe`."""
        made = super().__new__(cls)
        names = list(inspect.signature(cls.__init__).parameters)[1:]
        # Copies are made without arguments, and then get those of the original with all else that it has.
        given = dict(zip(names, args, strict=False)) | kwargs
        made.__dict__["init_args"] = {
            k: str(value) if isinstance(value, PurePath) else value for k, value in given.items()
        }
        return made


def recipe(module: object) -> dict[str, Any] | None:
    """How to make a module again, as LightningCLI writes it, or ``None`` if it does not remember in plain values.

    Example:
        >>> from vse_lightning.models import FeatureImageEncoder
        >>> recipe(FeatureImageEncoder(8, embed_dim=16))
        {'class_path': 'vse_lightning.models.FeatureImageEncoder', 'init_args': {'input_dim': 8, 'embed_dim': 16}}
    """
    if not isinstance(module, Rebuildable) or not is_plain(module.init_args):
        return None
    return {"class_path": class_path(type(module)), "init_args": dict(module.init_args)}


def class_path(cls: type) -> str:
    """The shortest path that a class is imported by: that of the package which shows it, not of the file behind it."""
    parts = cls.__module__.split(".")
    modules = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    showing = [name for name in modules if getattr(sys.modules.get(name), cls.__name__, None) is cls]
    return f"{showing[0] if showing else cls.__module__}.{cls.__qualname__}"


def is_plain(value: object) -> bool:
    """Whether a checkpoint that holds the value can be read without unpickling."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
