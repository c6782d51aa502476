"""Text in files: lines and JSON, in UTF-8, with or without a byte order mark."""

import json
from pathlib import Path
from typing import Any

ENCODING = "utf-8-sig"  # drops the mark that Windows writes, which would become part of the first id


def read_lines(argument: str, path: Path) -> list[str]:
    """The lines of a file without the white space around them; ``argument`` says whose file it is."""
    try:
        # Told what ends a line, Python does not break captions at the rarer characters that it would take for an end.
        with path.open(encoding=ENCODING, newline="\n") as file:
            return [line.strip() for line in file]
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(f"{argument} must be a text file in UTF-8, got {path} ({error})") from error


def read_json(argument: str, path: Path) -> Any:
    """What a JSON file holds; ``argument`` says whose file it is."""
    try:
        return json.loads(path.read_text(encoding=ENCODING))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{argument} must be a JSON file, got {str(path)!r}: {error}") from error
