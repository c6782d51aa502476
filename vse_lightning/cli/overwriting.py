"""What a command writes takes the place of its own files, and of nobody else's."""

from pathlib import Path

from vse_lightning.checks import is_own, require


def require_own(option: str, path: Path | None, mark: str) -> None:
    """Raise a ``ValueError`` if a file cannot be written, or is there without the mark of what the command writes."""
    if path is None:
        return
    require(path.parent.is_dir(), "{} must be in a folder that exists, got {}", option, path)
    require(not path.is_dir(), "{} must be a file, got the folder {}", option, path)
    own = not path.exists() or is_own(path, mark)
    require(own, "{}: {} is there already, and not of this command: give another name, or remove it", option, path)


def require_new(option: str, paths: list[Path]) -> None:
    """Raise a ``ValueError`` if there are files in the place of those that will be written."""
    existing = next((path for path in paths if path.exists()), None)
    require(existing is None, "{}: {} is there already: give another folder, or remove it", option, existing)
