"""What a checkpoint remembers of its configuration, beside what the user says: the user wins."""

from argparse import ArgumentError
from collections.abc import Callable, Iterator
from functools import cache
from pydoc import ErrorDuringImport, locate
from typing import Any

import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentParser, Namespace

from vse_lightning.checks import require
from vse_lightning.cli.config_files import named_by_user
from vse_lightning.cli.parser_errors import readable
from vse_lightning.models.checkpoints.opening import read_checkpoint
from vse_lightning.models.checkpoints.recipes import is_plain
from vse_lightning.models.checkpoints.trust import require_trusted
from vse_lightning.models.retriever import CLASS_KEY
from vse_lightning.paths import existing_path

Tree = dict[str, Any]
"""An object as a config writes it, ``{"class_path": ..., "init_args": {...}}``, at any depth."""

WHOLE = ("relevance_loss", "retrieval_metrics", "optimizer", "lr_scheduler")
"""Arguments of a model that its weights do not need. A config that names one of them means it as it stands there, and
nothing that the checkpoint remembers of it counts; of all else a config may name a part."""

WORDS_FOR_CHECKPOINTS = ("best", "last", "hpc")
"""What Lightning finds a checkpoint for by itself."""


def parse_beside_checkpoint(parser: ArgumentParser, command: str, args: list[str]) -> tuple[Namespace, list[str]]:
    """Parse a command line, subcommand included; what it leaves open of the model comes from its ``--ckpt_path``.

    Returns:
        The configuration, and a line for each difference from the checkpoint.
    """

    @cache
    def after(first: str) -> Namespace:
        return parser.parse_args([*(["--config", first] if first else []), *args])

    def with_model(model: Tree | None) -> Namespace:
        return after("" if model is None else yaml.safe_dump({command: {"model": model}}))

    def model_of(config: Namespace) -> Tree:
        found: Tree = yaml.safe_load(parser.dump(config, skip_none=False, skip_link_targets=False, format="yaml"))
        return found.get(command, found)["model"]  # type: ignore[no-any-return]

    try:
        alone: Namespace | None = with_model(None)
        path = alone[command].get("ckpt_path")  # type: ignore[index]
        if alone[command].get("weights_only") is False:  # type: ignore[index]
            path = None  # the user knows that it has to be unpickled
    except ArgumentError:
        alone, path = None, _last_value("--ckpt_path", args)
        if path is None:
            raise
    remembered = remembered_model(path)
    if remembered is None:
        return with_model(None) if alone is None else alone, []
    trust, wishes = named_by_user(args)
    require_trusted(path, remembered, trust, [*wishes, *_class_paths({} if alone is None else model_of(alone))])
    remembered, words = _without_unknown_classes(remembered)
    try:
        config = with_model(_left_open(lambda model: model_of(with_model(model)), remembered))
    except ArgumentError as error:
        if alone is None:
            raise
        return alone, [
            f"{path}: its configuration is none of this version, so that only yours counts: {readable(str(error))}"
        ]
    own = None if alone is None else model_of(alone)
    return config, [*words, *differences(remembered, own, model_of(config))]


def remembered_model(path: str | None) -> Tree | None:
    """How the model of a checkpoint was made; None where there is no checkpoint, or none that says so."""
    if path is None or path in WORDS_FOR_CHECKPOINTS or "://" in path or path.startswith("registry"):
        return None
    found = existing_path("--ckpt_path", path)
    if found.is_dir():  # of shards
        return None
    checkpoint = read_checkpoint(found)
    versioned = "pytorch-lightning_version" in checkpoint
    require(versioned, "--ckpt_path: {} must be a checkpoint that Lightning wrote, but names no version of it", found)
    arguments = dict(checkpoint.get("hyper_parameters", {}))
    name = arguments.pop("_class_path", None) or checkpoint.get(CLASS_KEY)
    arguments.pop("_instantiator", None)
    plain = {argument: value for argument, value in arguments.items() if is_plain(value)}
    # as a config would have it: lists in place of tuples
    return yaml.safe_load(yaml.safe_dump({"class_path": name, "init_args": plain}, sort_keys=False)) if name else None


def differences(remembered: Tree, own: Tree | None, now: Tree) -> list[str]:
    """What the user says otherwise, and what the checkpoint says where the user says nothing, a line for each.

    The model of the user alone, its ``own``, may be none; ``now`` are the two together.
    """
    of_user, of_both = {} if own is None else dict(_flat(own)), dict(_flat(now))
    lines: dict[str, str] = {}
    for name, old in _flat(remembered):
        new = of_both.get(name, old)
        if any(name.startswith(f"{above}.") for above in lines):
            continue
        if new != old:
            lines[name] = f"{name}: {_shown(old)} in the checkpoint, {_shown(new)} now"
        elif of_user.get(name, old) != old:
            lines[name] = f"{name}: {_shown(old)} as in the checkpoint, {_shown(of_user[name])} without it"
    return list(lines.values())


def _left_open(parsed: Callable[[Tree], Tree], remembered: Tree) -> Tree | None:
    """The part of what a checkpoint remembers that the user says nothing else of.

    A user's command line is ``parsed`` to the model that it makes of one that is remembered.
    """
    arguments = remembered["init_args"]
    needed = {name: value for name, value in arguments.items() if name not in WHOLE}
    try:
        said = parsed({**remembered, "init_args": needed})["init_args"]
        left = {
            **remembered,
            "init_args": {name: v for name, v in arguments.items() if said.get(name) is None} | needed,
        }
    except ArgumentError:  # --model.init_args.optimizer.init_args.lr alone is about the optimizer that is remembered
        left = remembered
    return _of_the_same_classes(left, parsed(left))  # type: ignore[no-any-return]


def _of_the_same_classes(remembered: Any, now: Any) -> Any:
    """What is remembered of the objects that are still of their class, or None.

    The parser would hand on arguments by their name, the temperature of one loss to another.
    """
    if not (isinstance(remembered, dict) and isinstance(now, dict)):
        return remembered
    if _is_object(remembered) and _is_object(now) and _class(remembered) is not _class(now):
        return None
    kept = {name: (value, _of_the_same_classes(value, now.get(name))) for name, value in remembered.items()}
    return {name: new for name, (old, new) in kept.items() if new is not None or old is None}


def _without_unknown_classes(remembered: Tree) -> tuple[Tree, list[str]]:
    """Without the parts that are not needed and of which the code is not here; a line for each."""
    arguments, lines = dict(remembered["init_args"]), []
    for name in WHOLE:
        missing = [path for path in _class_paths(arguments.get(name)) if _located(path) is None]
        if missing:
            del arguments[name]
            lines.append(f"model.{name}: {missing[0]} of the checkpoint is not here, so that it counts for nothing")
    return {**remembered, "init_args": arguments}, lines


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)


def _class(tree: Tree) -> object:
    return _located(tree["class_path"]) or tree["class_path"]


def _located(path: str) -> object:
    try:
        return locate(path)
    except ErrorDuringImport:
        return None


def _class_paths(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if _is_object(tree):
            yield tree["class_path"]
        for value in tree.values():
            yield from _class_paths(value)


def _flat(tree: Any, name: str = "model") -> Iterator[tuple[str, Any]]:
    """Names such as ``model.relevance_loss.margin`` with their values; objects go by the name of their class."""
    if _is_object(tree):
        yield name, tree["class_path"].rpartition(".")[2]
        for argument, value in {**(tree.get("init_args") or {}), **(tree.get("dict_kwargs") or {})}.items():
            yield from _flat(value, f"{name}.{argument}")
    elif isinstance(tree, dict) and any(map(_is_object, tree.values())):
        yield name, ", ".join(sorted(tree))
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}")
    else:
        yield name, tree


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _last_value(option: str, args: list[str]) -> str | None:
    """What the last ``option VALUE`` or ``option=VALUE`` of a command line says."""
    found = None
    for place, argument in enumerate(args):
        name, equals, value = argument.partition("=")
        if name == option:
            found = value if equals else next(iter(args[place + 1 : place + 2]), None)
    return found
