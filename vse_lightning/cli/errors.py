"""Which errors are said in one message, and which keep their traceback.

What this package raises, or what a config or a file causes, is a message. Anything else is a mistake in somebody's
code, the user's or ours, and the traceback shows where. The place where an error was raised decides.
"""

import dis
import re
import sysconfig
from argparse import ArgumentError
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException

from vse_lightning.cli.parser_errors import readable

_OF_FILES_AND_PACKAGES = (OSError, ImportError)
_OF_CONFIGS = (ValueError, TypeError, MisconfigurationException)
_OF_ANOTHER_PROCESS = re.compile(r"gloo.*(closed|reset) by peer|NCCL.*remote process exited", re.DOTALL)
_OTHER_WEIGHTS = "Error(s) in loading state_dict"
_PACKAGE = Path(__file__).parents[1]
_STANDARD_LIBRARY = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
_RAISE = dis.opmap["RAISE_VARARGS"]
_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<number>\d+), in .+\n(?:    (?P<code>.*)\n)?', re.MULTILINE)
_FRAMES = re.compile(r"(?:  .*\n)+")

Owner = Literal["ours", "library", "user"]


class Place(NamedTuple):
    """Where an error passed."""

    file: str
    line: int
    says_raise: bool  # raised there on purpose, and not what some expression led to


def told(error: BaseException) -> tuple[BaseException, str | None]:
    """What went wrong, and what to say of it: None where its traceback is needed."""
    error = _inside_of_jsonargparse(error)
    if isinstance(error, RuntimeError) and _OF_ANOTHER_PROCESS.search(str(error)):
        return error, "another process of this run has ended; the cause is what that one says"
    if any(_nearest_owner(places) == "user" for places in _chain(error)):
        return error, None
    if isinstance(error, ArgumentError):
        return error, readable(str(error))
    places, message = _of_worker(str(error)) or (list(_places(error)), str(error))
    if not _is_about_its_input(error, places):
        return error, None
    if isinstance(error, OSError) and message.startswith("[Errno") and error.filename:
        message = f"{error.filename}: {str(error.strerror).lower()}"
    notes = [*getattr(error, "__notes__", ()), *_lines_of_user(places)]
    return error, "\n".join([message or type(error).__name__, *notes])


def _is_about_its_input(error: BaseException, places: list[Place]) -> bool:
    """Whether the error is about a config or a file, and not a mistake in the code that raised it."""
    if isinstance(error, _OF_FILES_AND_PACKAGES) or str(error).startswith(_OTHER_WEIGHTS):
        return True
    if not places[-1].says_raise:
        return False
    # PyTorch's own are about tensors, except where a config names the class that raises them
    about_tensors = "/torch/" in places[-1].file and not re.search(r"/torch/(optim|utils/data)/", places[-1].file)
    return _owner(places[-1].file) == "ours" or (isinstance(error, _OF_CONFIGS) and not about_tensors)


def _lines_of_user(places: list[Place]) -> Iterator[str]:
    """Where the user's code called what raised the error, if it did."""
    command = (_PACKAGE / "cli" / "program.py").as_posix()
    inside = list(takewhile(lambda place: place.file != command, reversed(places)))
    nearest = next((place for place in inside if _owner(place.file) == "user"), None)
    if nearest is not None:
        yield f"(called in {nearest.file}, line {nearest.line})"


def _nearest_owner(places: list[Place]) -> Owner:
    """Whose code was running, whatever library it had called."""
    owners = (_owner(place.file) for place in reversed(places))
    return next((owner for owner in owners if owner != "library"), "ours")


def _chain(error: BaseException) -> Iterator[list[Place]]:
    """The places of an error and of those that caused it."""
    cause: BaseException | None = error
    while cause is not None:
        yield list(_places(cause))
        yield from (_places_in(section) for section in str(cause).split(_TRACEBACK)[1:])
        cause = cause.__cause__


def _inside_of_jsonargparse(error: BaseException) -> BaseException:
    """What went wrong inside, where jsonargparse wraps it in what it could not make of it."""
    while error.__cause__ is not None and not isinstance(error, ArgumentError):
        *_, last = _places(error)
        if "/jsonargparse/" not in last.file:
            break
        error = error.__cause__
    return error


def _places(error: BaseException) -> Iterator[Place]:
    """From the outermost to where it was raised."""
    passed = error.__traceback__
    while passed is not None:
        code = passed.tb_frame.f_code
        says_raise = code.co_code[passed.tb_lasti] == _RAISE
        yield Place(Path(code.co_filename).as_posix(), passed.tb_lineno, says_raise)
        passed = passed.tb_next


def _of_worker(text: str) -> tuple[list[Place], str] | None:
    """The places and the message inside of what PyTorch raises for an error in a process of a loader."""
    if not text.startswith("Caught ") or _TRACEBACK not in text:
        return None
    last = text.rpartition(_TRACEBACK)[2]
    said = _FRAMES.sub("", last, count=1)  # "ValueError: " and the message
    return _places_in(last), said.partition(": ")[2].strip()


def _places_in(traceback: str) -> list[Place]:
    frames = _FRAMES.match(traceback)
    found = _FRAME.finditer(frames[0]) if frames else ()
    return [
        Place(Path(each["file"]).as_posix(), int(each["number"]), (each["code"] or "").startswith("raise"))
        for each in found
    ]


@cache
def _owner(file: str) -> Owner:
    """Whose code a file is; a package that nobody needs for this one is the user's."""
    path = Path(file)
    if path.is_relative_to(_PACKAGE):
        return "ours"
    installed = re.search(r"/(?:site|dist)-packages/(\w+)", file)
    if installed:
        return "library" if installed[1] in _dependencies() else "user"
    # what is compiled or generated has no path
    library = not path.is_absolute() or any(path.is_relative_to(folder) for folder in _STANDARD_LIBRARY)
    return "library" if library else "user"


@cache
def _dependencies() -> frozenset[str]:
    """Names that the packages which this one needs, and those that they need, are imported by."""
    needed: set[str] = set()
    waiting = ["vse-lightning"]
    while waiting:
        name = _normalized(waiting.pop())
        if name not in needed:
            needed.add(name)
            try:
                waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in metadata.requires(name) or ()]
            except metadata.PackageNotFoundError:
                continue
    by_import = metadata.packages_distributions().items()
    return frozenset(module for module, packages in by_import if needed & set(map(_normalized, packages)))


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
