"""What jsonargparse says is wrong with a command line or a config: the line that matters, and what may be meant."""

import re
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from jsonargparse import ArgumentParser

_KEY = re.compile(r'Parser key "(.+)"(?: element \d+)?:$')
_CLASS = re.compile(r"Problem with given class_path '(.+)':$")
_IS_NOT_NONE = "Expected a <class 'NoneType'>"
_FORMS_OF_A_CLASS = ("Subclass types ", "a class path (str)", "a dict with")
_SAYS_NOTHING = ("Does not validate", "Subtypes: ", "Errors:", "Given value", "Expected a path but", _IS_NOT_NONE)
_MAKER = re.compile(r"^Type \S.* expects a function or a callable class: ")
_NOT_ACCEPTED = re.compile(r"(?:Subcommand '\w+' does not accept option|Option) '([^']+)'(?: is not accepted)?")
_UNKNOWN = "unrecognized arguments: "
_VALUE = re.compile(r"\s*Given value: (?!Namespace\(|NestedArg\()(.+)")


def readable(message: str) -> str:
    """The option that a message is about with the reasons that lie deepest; a message of one line as it is.

    Example:
        >>> readable('''Parser key "trainer":
        ...   Parser key "max_epochs":
        ...     Expected a <class 'int'>. Got value: many''')
        'trainer.max_epochs: expected int, got many'
    """
    keys: list[tuple[int, str]] = []  # those above a line, with their indentation
    classes: list[tuple[int, str]] = []
    deepest, option, value = 0, "", ""
    reasons: list[str] = []
    for line in filter(str.strip, message.splitlines()):
        text = _MAKER.sub("", line.strip().removeprefix("- "))
        indent = len(line) - len(line.lstrip())
        keys = [(place, name) for place, name in keys if place < indent]
        classes = [(place, name) for place, name in classes if place < indent]
        if key := _KEY.match(text):
            keys.append((indent, key[1]))
        elif of_class := _CLASS.match(text):
            classes.append((indent, of_class[1]))
        elif given := _VALUE.match(line):
            value = value or given[1]
        elif keys and indent >= deepest and not text.startswith(_SAYS_NOTHING + _FORMS_OF_A_CLASS):
            about = ".".join(name for _, name in keys)
            of = f" ({classes[-1][1]})" if classes and classes[-1][0] > keys[-1][0] else ""
            reasons = [*(reasons if indent == deepest and option == about + of else []), _plain(text)]
            deepest, option = indent, about + of
    if not reasons:
        return message
    told = " or ".join(dict.fromkeys(reasons))
    shown = value and told.startswith("expected") and ", got " not in told
    return f"{option}: {told}" + (f", got {value}" if shown else "")


@contextmanager
def suggesting(parser: ArgumentParser, args: Sequence[str]) -> Iterator[None]:
    """Say with each option that the ``parser`` does not know which of its own may be meant, and whose config has it."""
    try:
        yield
    except ArgumentError as error:
        if error.message.startswith(_UNKNOWN):
            known = list(parser.get_defaults().keys())
            words = error.message.removeprefix(_UNKNOWN).split()
            meant = [_meant(word.partition("=")[0][2:], known) for word in words if word.startswith("--")]
            names = [f"--{name}" for name in meant if name]
            error.message += f": did you mean {', '.join(names)}?" if names else ""
        elif unknown := _NOT_ACCEPTED.fullmatch(error.message):
            files = [Path(word.removeprefix("--config=")) for word in args if word.startswith("--config=")]
            line = re.compile(rf"^{re.escape(unknown[1].partition('.')[0])}\b", re.MULTILINE)
            where = [f"--config {path}: " for path in files if path.is_file() and line.search(path.read_text("utf-8"))]
            meant_name = _meant(unknown[1], list(parser.get_defaults().keys()))
            hint = f": did you mean {meant_name}?" if meant_name else ""
            error.message = f"{''.join(where[-1:])}Option {unknown[1]!r} is not accepted{hint}"
        raise


def _meant(name: str, known: list[str]) -> str | None:
    """The option of the same words, of a group, or of similar letters.

    Example:
        >>> _meant("max-epochs", ["trainer.max_epochs", "trainer.max_steps"])
        'trainer.max_epochs'
        >>> _meant("captoins", ["split", "captions"])
        'captions'
    """
    words = name.replace("-", "_")
    same = [option for option in known if f".{option}".endswith(f".{words}")]
    return min(same, key=len) if same else next(iter(get_close_matches(words, known, n=1, cutoff=0.75)), None)


def _plain(reason: str) -> str:
    reason = re.sub(r"\.* Got value: Namespace\(.*", "", reason)
    reason = re.sub(
        r"^Not a valid subclass of (\w+)$", r"expected the path of a \1's class, or it as class_path", reason
    )
    reason = re.sub(r"^Expected '(.+)' to be a subclass of <class '(\w+)'>\.*$", r"expected \2's class, got \1", reason)
    reason = re.sub(r"^Expected an? <class '(?:[\w.]*\.)?(\w+)'>", r"expected \1", reason)
    reason = re.sub(r"^Expected a typing\.Literal\[(.+?)\]", r"expected one of \1", reason)
    reason = reason.replace(
        "Expected a dot import path string:", "expected the name or the dotted path of a class, got"
    )
    return reason.replace(". Got value: ", ", got ")
