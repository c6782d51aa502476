"""What a command line and its configs say before anything else reads them: which files, and which code."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from vse_lightning.checks import require
from vse_lightning.data.files.text_files import problem_of
from vse_lightning.models.checkpoints.trust import REMOTE_CODE, names_in

CONFIG_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Where ``--config NAME.yaml`` is found: in the installed package, or in the checkout that it runs from."""


def configs_first(args: Sequence[str]) -> list[str]:
    """Move ``--config`` before the other options, which count wherever they stand, and find the files.

    A name of no file here is that of a shipped config.
    """
    configs: list[str] = []
    others: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        config = value if equals else next(words, None) if name in ("--config", "-c") else None
        if name not in ("--config", "-c") or config is None:
            others.append(word)
        else:
            configs.append(f"--config={_readable(_config_path(config))}")
    return [*configs, *others]


def _readable(config: Path) -> Path:
    """The path, unless the file is no YAML: the parser would not say which."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ValueError(f"--config: {config} must be YAML: {_problem(error)}") from error
    named = isinstance(content, dict | None)
    require(named, "--config: {} must hold options by name, got a {}", config, type(content).__name__)
    numbers = [key for key in content or () if not isinstance(key, str)]
    require(not numbers, "--config: {} must have texts as names of options, got {!r}", config, *numbers[:1])
    return config


def _problem(error: Exception) -> str:
    """In one line."""
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(error, 'problem', None) or problem_of(error)}{where}"


def _config_path(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    folders = [folder for folder in CONFIG_FOLDERS if folder.is_dir()]
    for folder in folders:
        candidate = folder / name.removeprefix("configs/")
        if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
            return candidate
    shipped = sorted({str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.yaml")})
    raise FileNotFoundError(f"--config: no file {name!r} here, and none of that name is shipped: {', '.join(shipped)}")


def named_by_user(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the user trusts, and what the user names, in a command line with ``--config=FILE``.

    Example:
        >>> named_by_user(["test", "--trust=my.module,other", "--model", "torch.nn.Linear"])
        (['my.module', 'other'], ['torch.nn.Linear'])
    """
    options = list(_options(args))
    configs = [
        yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {} for name, file in options if name == "config"
    ]
    sections = [*configs, *(section for config in configs for section in config.values() if isinstance(section, dict))]
    trust = [value for name, value in options if name == "trust"] + [section.get("trust") for section in sections]
    remote = [{name: yaml.safe_load(value)} for name, value in options if name.endswith(REMOTE_CODE)]
    others = [value for name, value in options if name != "trust"]
    return list(_texts(trust)), [name for _, name in names_in([others, configs, remote])]


def _options(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """``--name value`` and ``--name=value``."""
    for word, behind in zip(args, [*args[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            yield name, value if equals else behind


def _texts(tree: Any) -> Iterator[str]:
    """The texts in lists, also in those that are written in a text."""
    if isinstance(tree, str):
        yield from (text.strip() for text in tree.strip("[] ").split(","))
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)
