"""The files of ``--config``: found by name, read before anything else is."""

from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from vse_lightning.checks import require

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
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"--config: {config} must be YAML: {error}") from error
    named = isinstance(content, dict | None)
    require(named, "--config: {} must hold options by name, got a {}", config, type(content).__name__)
    return config


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
