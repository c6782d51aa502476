"""A page that holds all it needs."""

from __future__ import annotations

from importlib.resources import files

from vse_lightning.pages.markup import Markup, element

# Nothing but what is in the file: no script, no font, no request.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

PAGE_MARK = element("meta", name="generator", content="vse_lightning")
"""By which a page is known as one of ours, which may be replaced."""


def html_document(title: str, header: Markup, main: Markup) -> str:
    """The whole page as one HTML document without references, in light or dark as the reader has it."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        PAGE_MARK,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Markup(style)),
    )
    return f'<!doctype html>\n<html lang="en">{head}{element("body", header, main)}</html>\n'


def facts_list(facts: dict[str, object]) -> Markup:
    """What the head of a page says, by name."""
    return element("dl", *(element("div", element("dt", name), element("dd", what)) for name, what in facts.items()))
