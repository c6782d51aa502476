"""The command ``vse-lightning``: which of its eight commands is asked for, and what goes wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from vse_lightning.checks import require
from vse_lightning.cli.compared_training import ComparingCLI
from vse_lightning.cli.errors import told
from vse_lightning.cli.grammar import Command, first_line, run_command
from vse_lightning.cli.quiet import without_remarks
from vse_lightning.cli.training import TRAINING
from vse_lightning.report import printable

OTHERS = ("label", "evaluate", "search", "export")
"""Commands that are no method of the trainer: each a function, in the module of its name."""


def main(args: list[str] | None = None) -> None:
    """Run the command; ``args`` default to those of the shell.

    With ``args``, for tests and scripts, it raises what goes wrong. In a shell what is wrong with a config, a file or
    an option is one message and the exit code 2; other errors keep their traceback.
    """
    if args is None and not sys.flags.safe_path:
        sys.path.append("")  # as python -m does: classes of a config may be in the working directory
    try:
        return _run(sys.argv[1:] if args is None else args)
    except Exception as error:
        cause, message = told(error)
    if args is not None or message is None:
        raise cause
    print(f"vse-lightning: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def _run(args: list[str]) -> None:
    name = args[0] if args else ""
    if name in ("-h", "--help"):
        print(_overview())
        return
    commands = ", ".join((*TRAINING, *OTHERS))
    require(name in TRAINING or name in OTHERS, "COMMAND must be one of {}, got {!r}", commands, name)
    with _environment_as_before(), without_remarks():
        if name in TRAINING:
            ComparingCLI(args)
        else:
            run_command(_command(name), args[1:])


def _command(name: str) -> Command:
    command: Command = getattr(import_module(f"vse_lightning.cli.{name}"), name)
    return command


def _overview() -> str:
    lines = {**TRAINING, **{name: first_line(_command(name)) for name in OTHERS}}
    return "\n".join(
        [
            "usage: vse-lightning COMMAND [--OPTION VALUE ...]\n",
            "Relevance-aware image-text retrieval: train, test and compare losses from YAML files.\n",
            "commands:",
            *(f"  {name:<10}{line}" for name, line in lines.items()),
            "\nAll take --config FILE, --print_config and --help: vse-lightning fit --help",
        ]
    )


@contextmanager
def _environment_as_before() -> Iterator[None]:
    """Take back the seed that Lightning leaves in the environment: a program that goes on did not ask for it."""
    before = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
