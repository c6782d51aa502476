"""What jsonargparse says is wrong with a config, with the line that matters first."""

from __future__ import annotations

import re

_KEY = re.compile(r'Parser key "(.+)"(?: element \d+)?:$')
_CLASS = re.compile(r"Problem with given class_path '(.+)':$")
_SAYS_NOTHING = ("Does not validate", "Subtypes: ", "Errors:", "Given value", "Expected a path but")
_IS_LONG = re.compile(r"\s*Given value(?: type:|: (?:Namespace|NestedArg)\()")
_IS_NOT_NONE = "Expected a <class 'NoneType'>"


def readable(message: str) -> str:
    """The reason that lies deepest in a message and the option that it is about; behind it the message.

    A message of one line stays as it is.

    Example:
        >>> print(readable('''Parser key "trainer":
        ...   Parser key "max_epochs":
        ...     Expected a <class 'int'>. Got value: many'''))
        trainer.max_epochs: Expected a <class 'int'>. Got value: many
        <BLANKLINE>
        Parser key "trainer":
          Parser key "max_epochs":
            Expected a <class 'int'>. Got value: many
    """
    keys: list[tuple[int, str]] = []  # those above a line, with their indentation
    classes: list[tuple[int, str]] = []
    deepest, first = 0, ""
    lines = [line for line in message.splitlines() if line.strip() and not _IS_LONG.match(line)]
    for line in lines:
        text = line.strip().removeprefix("- ")
        indent = len(line) - len(line.lstrip())
        keys = [(place, name) for place, name in keys if place < indent]
        classes = [(place, name) for place, name in classes if place < indent]
        if key := _KEY.match(text):
            keys.append((indent, key[1]))
        elif of_class := _CLASS.match(text):
            classes.append((indent, of_class[1]))
        elif keys and indent > deepest and text != _IS_NOT_NONE and not text.startswith(_SAYS_NOTHING):
            deepest = indent
            about = ".".join(name for _, name in keys)
            of = f" ({classes[-1][1]})" if classes and classes[-1][0] > keys[-1][0] else ""
            first = f"{about}{of}: {text}"
    return "\n".join([first, "", *lines]) if first else message
