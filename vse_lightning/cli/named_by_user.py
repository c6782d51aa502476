"""What the user says of code: the modules in ``--trust``, and every name on the command line and in its configs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from vse_lightning.models.checkpoints.trust import REMOTE_CODE, names_in


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
