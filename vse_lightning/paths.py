"""Paths that a user wrote: they exist, or an error says what is there instead."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from vse_lightning.checks import require

_DATA = re.compile(r"\$VSE_DATA\b|\$\{VSE_DATA\}")


def expanded(path: str | Path) -> Path:
    """A path with its variables as in :func:`existing_path`, whether or not something is there."""
    in_data = not os.environ.get("VSE_DATA") and bool(_DATA.search(str(path)))
    return Path(os.path.expandvars(_DATA.sub("data", str(path)) if in_data else path)).expanduser().absolute()


def existing_path(argument: str, path: str | Path) -> Path:
    """Return ``path`` as an absolute path of a file or folder that exists.

    ``~`` is the home folder, and ``$NAME`` or ``${NAME}`` an environment variable; ``${VSE_DATA}``, where the shipped
    configs look, is ``data`` if that is not set. Where nothing is there, a ``FileNotFoundError`` names the argument
    and, where there is one, a similar name.
    """
    require(isinstance(path, str | Path), "{} must be a path, got {!r}", argument, path)
    full = expanded(path)
    if full.exists():
        usual = full.is_file() or full.is_dir()  # a pipe would be waited for
        require(usual, "{} must be a file or a folder, got a pipe, a socket or a device: {}", argument, full)
        return full
    parent = full.parent
    while not parent.exists():
        full, parent = parent, parent.parent
    if not parent.is_dir():
        raise FileNotFoundError(f"{argument}: nothing at {str(path)!r}: {parent} is a file, not a folder")
    similar = get_close_matches(full.name, [entry.name for entry in parent.iterdir()], n=1)
    in_data = not os.environ.get("VSE_DATA") and bool(_DATA.search(str(path)))
    hint = "; set VSE_DATA to the folder that has it" if in_data else ""
    hint = f"; did you mean {str(parent / similar[0])!r}?" if similar else hint
    raise FileNotFoundError(f"{argument}: nothing at {str(path)!r}: {parent} has no {full.name!r}{hint}")


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading; a ``ValueError`` where something else is there, such as a pipe, which would wait."""
    require(path.is_file() or not path.exists(), "{} must be a file, got a folder, a pipe, a socket or a device", path)
    return path.open("rb")


def is_missing_folder(name: str) -> bool:
    """Whether a name can only be that of a folder, and none is there: it is then not looked for on a hub either."""
    is_path = name.startswith((".", "/", "~")) or name.endswith("/") or Path(name).is_absolute()
    return is_path and not Path(name).expanduser().is_dir()
