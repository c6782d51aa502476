"""A command from a typed function: options, help and configs come from its signature and its docstring."""

import inspect
import json
import re
from argparse import RawDescriptionHelpFormatter
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter  # type: ignore[attr-defined]

from vse_lightning.cli.config_files import configs_first
from vse_lightning.cli.parser_errors import suggesting

OF_TRAINING = ("seed_everything", "model", "trainer")
"""What a config of a training says, and no other."""
_CONFIG = "YAML with options under their names; may be repeated, later ones count; shipped ones are found by name"
_EPILOG = "Options of several values may be repeated, or written [A,B]. A switch alone means true."

Command = Callable[..., None]


def run_command(command: Command, args: list[str]) -> None:
    """Parse the command line behind the name of a command, and call the command, a function of typed parameters.

    A config for ``fit`` will do for one with a parameter ``data``; where the first parameter is a list, words that
    belong to no option are its values.
    """
    args = configs_first(args)
    if "data" in inspect.signature(command).parameters:
        args = [_data_alone(arg) if arg.startswith("--config=") else arg for arg in args]
    parser = _parser(command)
    with suggesting(parser, args):
        config = parser.parse_args(written_out(command, args))
    config.pop("config")
    command(**parser.instantiate(config))


def first_line(command: Command) -> str:
    """What a command does, from its docstring."""
    return str(inspect.getdoc(command)).partition("\n")[0].rstrip(".")


def written_out(command: Command, args: list[str]) -> list[str]:
    """The command line as jsonargparse reads it: lists in one value, switches with theirs.

    Example:
        >>> def count(files: list[str], sizes: tuple[int, ...] = (), fast: bool = False) -> None: ...
        >>> written_out(count, ["a", "--fast", "b", "--sizes", "1,2"])
        ['--fast=true', '--files=["a", "b"]', '--sizes=[1,2]']
    """
    hints = get_type_hints(command)
    elements = {name: _element(hint) for name, hint in hints.items()}
    first = next(iter(hints))
    lists: dict[str, list[str]] = {}
    others: list[str] = []
    words = deque(args)
    while words:
        word = words.popleft()
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("-") and elements[first]:
            lists.setdefault(first, []).append(word)
        elif bool in (hints.get(name), *get_args(hints.get(name))):
            alone = not equals and not (words and _is_value(words[0]))
            others.append(f"--{name}={'true' if alone else value or words.popleft()}")
        elif elements.get(name):
            values = [value] if equals else []
            while words and not _is_option(words[0]) and not equals and not (elements[first] and values):
                values.append(words.popleft())
            if _is_class_of_objects(elements[name]):  # further options may be about each
                others += [f"--{name}+={each}" for each in values]
            else:
                lists.setdefault(name, []).extend(values)
        else:
            others.append(word)
            if word.startswith("--") and not equals and words and word not in ("--help", "--print_config"):
                others.append(words.popleft())
    return [*others, *(f"--{name}={_list(values, elements[name])}" for name, values in lists.items())]


def _is_option(word: str) -> bool:
    """Whether a word is one, and no negative number."""
    return word.startswith("-") and re.fullmatch(r"-\d+(\.\d+)?", word) is None


def _is_value(word: str) -> bool:
    """Whether a word after a switch is its value."""
    return word in ("true", "false") or word.replace(".", "", 1).isdecimal()


def _element(hint: Any) -> Any:
    """What a list holds; None for what is no list."""
    of_list = next((each for each in (hint, *get_args(hint)) if get_origin(each) in (list, tuple)), None)
    return None if of_list is None else get_args(of_list)[0]


def _is_class_of_objects(element: Any) -> bool:
    return inspect.isclass(element) and element not in (str, int, float)


def _list(values: list[str], element: Any) -> str:
    if len(values) == 1 and values[0].startswith("[") and values[0].endswith("]"):
        return values[0]
    return f"[{','.join(values)}]" if element in (int, float) else json.dumps(values)


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """The formatter of jsonargparse, which leaves the lines of a description as they are."""


def _parser(command: Command) -> ArgumentParser:
    name = command.__name__
    first, hint = next(iter(get_type_hints(command).items()))
    positional = f" {first.upper()} ..." if _element(hint) else ""
    parser = ArgumentParser(
        prog=f"vse-lightning {name}",
        usage=f"vse-lightning {name}{positional} [--OPTION VALUE ...]",
        description=str(inspect.getdoc(command)).partition("\nArgs:")[0],
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", "-c", action=ActionConfigFile, help=_CONFIG)
    parser.add_function_arguments(command, as_group=False, fail_untyped=False)
    return parser


def _data_alone(config: str) -> str:
    """``--config=FILE``, of which only the data counts where it is one of a training."""
    content = yaml.safe_load(Path(config.partition("=")[2]).read_text(encoding="utf-8")) or {}
    keys = {key: key.partition(".")[0] for key in content}
    if not {*OF_TRAINING} & {*keys.values()}:
        return config
    return f"--config={yaml.safe_dump({key: content[key] for key, first in keys.items() if first == 'data'})}"
