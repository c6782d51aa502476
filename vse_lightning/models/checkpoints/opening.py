"""A retriever from a checkpoint of which nothing but the path is known."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vse_lightning.argument_types import typed
from vse_lightning.array_files import problem_of_torch, require_whole_zip
from vse_lightning.checks import require
from vse_lightning.models.checkpoints.trust import require_trusted
from vse_lightning.models.retriever import CLASS_KEY, Retriever
from vse_lightning.paths import existing_path

_UNREADABLE = (EOFError, KeyError, OSError, RuntimeError, ValueError, UnpicklingError)


@typed
def load_retriever(path: str | Path, trust: Sequence[str] = ()) -> Retriever:
    """Restore a trained model of whichever class, on the CPU and in evaluation mode.

    The checkpoint names its class and holds all that the model needs: no network, no original folder, no config.
    Nothing is unpickled, and no code is run that the checkpoint alone asks for: classes that it names, at any depth,
    are this package's, PyTorch's, or of modules in ``trust``; a class of its own for the whole model may also have been
    imported before.

    Args:
        path: a checkpoint that ``fit`` or a ``Trainer`` wrote.
        trust: modules whose classes the checkpoint may name.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: it is no checkpoint, of no :class:`Retriever`, names code that nobody asked for, or does not hold
            what its class is built from.
    """
    require(not isinstance(trust, str), "trust must be several modules in a list, got {!r}", trust)
    found = existing_path("checkpoint", path)
    checkpoint = read_checkpoint(found)
    arguments = checkpoint.get("hyper_parameters", {})
    name = str(arguments.get("_class_path") or checkpoint.get(CLASS_KEY, ""))
    require("." in name, "checkpoint {} must be of a Retriever such as DualEncoder, but names no class", found)
    retriever = _class_named(name, found, trust)
    _check_arguments(retriever, arguments, found)
    return retriever.load_from_checkpoint(found, map_location="cpu", weights_only=True, trust=trust).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What the checkpoint holds, its tensors still on disk."""
    require(path.is_file(), "checkpoint must be a file, got the folder {}", path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        require_whole_zip(f"checkpoint {path}", path)
        raise ValueError(f"checkpoint {path} cannot be read without unpickling: it {problem_of_torch(path)}") from error
    lightning = isinstance(checkpoint, dict) and isinstance(checkpoint.get("state_dict"), dict)
    require(lightning, "checkpoint {} must be one that Lightning wrote, with a state_dict", path)
    named = isinstance(checkpoint.get("hyper_parameters", {}), dict)
    require(named, "checkpoint {} must have hyper_parameters by name, got others", path)
    return dict(checkpoint)


def _class_named(name: str, path: Path, trust: Sequence[str]) -> type[Retriever]:
    module, _, attribute = name.rpartition(".")
    if module not in sys.modules:
        require_trusted(path, {"class": name}, trust)
        import_module(module)
    found = getattr(sys.modules[module], attribute, None)
    is_retriever = isinstance(found, type) and issubclass(found, Retriever)
    require(is_retriever, "checkpoint {} must be of a Retriever such as DualEncoder, got {}", path, name)
    return found  # type: ignore[return-value]


def _check_arguments(retriever: type[Retriever], arguments: dict[str, Any], path: Path) -> None:
    """Modules given from Python are no plain values, so that a checkpoint does not hold them."""
    parameters = inspect.signature(retriever).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    missing = [name for name in needed if name not in arguments]
    given = ", ".join(f"{name}=..." for name in missing)
    require(
        not missing,
        "checkpoint {} was made in Python and lacks {}: restore it with {}.load_from_checkpoint(path, {}), or train "
        "with vse-lightning fit, whose checkpoints are complete",
        path,
        " and ".join(missing),
        retriever.__name__,
        given,
    )
