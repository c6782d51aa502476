"""A checkpoint is not code: what it names is imported only if it is ours, PyTorch's, or asked for by the user."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import fsspec
import torch
import yaml  # type: ignore[import-untyped]

REMOTE_CODE = "trust_remote_code"
"""Counts as a name of code: Hugging Face runs what a folder or a repository holds."""

_KNOWN = ("vse_lightning", "torch.nn", "torch.optim", "lightning.pytorch.cli.ReduceLROnPlateau")
_HOMES = ("vse_lightning", "torch.nn", "torch.optim", "torch._C", "lightning.pytorch.cli")  # of what these show
_COMMANDS = ("vse_lightning.cli", "vse_lightning.__main__")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_LARGEST_CONFIG = 1_000_000  # bytes


def require_trusted(checkpoint: object, tree: Any, trust: Collection[str] = (), wishes: Collection[str] = ()) -> None:
    """Raise a ``ValueError`` if a checkpoint names code that nobody asked for; nothing of that is imported.

    A text that could be imported counts as a name wherever it stands: as a ``class_path`` or as the value of an
    argument, in YAML inside of a text, or in a file that a text names.

    Args:
        checkpoint: for the message.
        tree: what the checkpoint says of how it was made, at any depth.
        trust: modules, or names in them, of which the user trusts all that they define.
        wishes: names that the user's own config says too.
    """
    named = {name: place for place, name in names_in(tree) if name not in wishes}
    unknown = [name for name in named if not _is_in(name, (*trust, *_KNOWN))]
    borrowed = [name for name in named if not unknown and _is_borrowed(name, trust)]  # imports what is not unknown
    for name in [*unknown, *borrowed][:1]:
        remedy = name if name == REMOTE_CODE else name.rpartition(".")[0]
        raise ValueError(
            f"checkpoint {checkpoint} names {name} ({named[name]}), which is neither of vse_lightning, torch.nn or "
            "torch.optim nor named by your config, and code that only a checkpoint asks for is not run. If you trust "
            f"it: --trust {remedy}, in Python trust=[{remedy!r}]"
        )


def hyper_parameters_of(checkpoint: str | Path | IO[bytes]) -> dict[str, Any]:
    """How the model of a checkpoint was made: of a file, an address, or an open file, which stays where it is."""
    if isinstance(checkpoint, str | Path):
        with fsspec.open(str(checkpoint), "rb") as file:
            return hyper_parameters_of(file)
    start = checkpoint.tell()
    content = torch.load(checkpoint, map_location="meta", weights_only=True)
    checkpoint.seek(start)
    return dict(content.get("hyper_parameters", {}))


def names_in(tree: Any, place: str = "", files: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Places in a config, and what is named there that could be imported.

    Args:
        tree: of plain values.
        place: where it stands.
        files: that it was read from.
    """
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            here = f"{place}.{key}".removeprefix(".")
            if str(key).rpartition(".")[2] == REMOTE_CODE and value not in (False, None):
                yield here, REMOTE_CODE
            yield from names_in(value, here, files)
    elif isinstance(tree, list | tuple | set):
        for value in tree:
            yield from names_in(value, place, files)
    elif isinstance(tree, str):
        if _DOTTED.fullmatch(tree) and _can_be_imported(tree):
            yield place, tree
        # the parser reads YAML in a text, and takes a text for the path of a config
        inside = _as_yaml(tree)
        if inside != tree:
            yield from names_in(inside, place, files)
        elif tree not in files and _is_small_file(tree):
            content = Path(tree).read_text(encoding="utf-8", errors="replace")
            yield from names_in(_as_yaml(content), f"{place}, in the file {tree}", (*files, tree))


def _as_yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _is_small_file(text: str) -> bool:
    try:
        return Path(text).is_file() and Path(text).stat().st_size <= _LARGEST_CONFIG
    except (OSError, ValueError):  # no path at all
        return False


def _can_be_imported(name: str) -> bool:
    """Whether there is a module of its first part, which a model's name such as ``resnet50.a1_in1k`` has not."""
    try:
        return find_spec(name.partition(".")[0]) is not None
    except (ValueError, ImportError):  # __main__ has none
        return True


def _is_in(name: str, roots: Collection[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _is_borrowed(name: str, trust: Collection[str]) -> bool:
    """Whether a module that is trusted has a name only from elsewhere, as ``my_module.os.system``."""
    if name in trust:
        return False
    if _is_in(name, _COMMANDS):
        return True
    found = _imported(name)
    if _is_in(name, trust):
        return found is not None and _home(found).partition(".")[0] != name.partition(".")[0]
    return found is not None and not _is_in(_home(found), _HOMES)


def _imported(name: str) -> Any:
    """What the parser would make of a dotted name: an attribute of a module, or of a class in one; None without it."""
    parts = name.split(".")
    for attributes in (1, 2):
        try:
            found: Any = import_module(".".join(parts[:-attributes]))
        except (ModuleNotFoundError, ValueError):
            continue
        for attribute in parts[-attributes:]:
            found = getattr(found, attribute, None)
        return found
    return None


def _home(found: Any) -> str:
    """The module that defines an object."""
    return str(getattr(found, "__module__", None) or getattr(found, "__name__", ""))
