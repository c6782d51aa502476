"""The files of ``--config``: found by name, read before anything else is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from vse_lightning.checks import require

CONFIG_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Where ``--config NAME.yaml`` is found: in the installed package, or in the checkout that it runs from."""


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace ``--config NAME`` by the path of the shipped config of that name, unless the file exists here.

    Raises:
        ValueError: where there is no such file anywhere, with the names that there are, or the file is no YAML.
    """
    found = list(args)
    for place, argument in enumerate(args):
        name, equals, value = argument.partition("=")
        if name not in ("--config", "-c"):
            continue
        if equals:
            found[place] = f"{name}={_readable(_config_path(value))}"
        elif place + 1 < len(args):
            found[place + 1] = _readable(_config_path(args[place + 1]))
    return found


def _readable(config: str) -> str:
    """The path, unless the file is no YAML: the parser would not say which."""
    try:
        yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"--config: {config} must be YAML: {error}") from error
    return config


def configs_first(args: Sequence[str]) -> list[str]:
    """Move ``--config`` before the other options of its subcommand: an option counts wherever it stands.

    Example:
        >>> configs_first(["fit", "--trainer.max_epochs", "1", "--config", "a.yaml", "-c=b.yaml"])
        ['fit', '--config', 'a.yaml', '-c=b.yaml', '--trainer.max_epochs', '1']
    """
    if not args or args[0].startswith("-"):  # of no subcommand
        return list(args)
    configs: list[str] = []
    others: list[str] = []
    for place, argument in enumerate(args):
        name = argument.partition("=")[0]
        is_config = name in ("--config", "-c")
        is_name_of_config = place > 0 and args[place - 1] in ("--config", "-c")
        (configs if is_config or is_name_of_config else others).append(argument)
    return [*others[:1], *configs, *others[1:]]


def _config_path(name: str) -> str:
    if Path(name).is_file():
        return name
    folders = [folder for folder in CONFIG_FOLDERS if folder.is_dir()]
    for folder in folders:
        candidate = folder / name.removeprefix("configs/")
        if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
            return str(candidate)
    shipped = sorted({str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.yaml")})
    require(False, "--config: no file {!r} here, and none of that name is shipped: {}", name, ", ".join(shipped))
    return name
