"""HTML pages from templates: what the gallery of a run, the answers of a search and an evaluation are shown on."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING

from vse_lightning.pages.items import jpeg_of, thumbnail

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_MARK = '<meta name="generator" content="vse_lightning">'
"""By which a page is known as one of ours, which may be replaced."""


def render(template: str, **content: object) -> str:
    """A page from a file in ``templates`` that holds all it needs: no script, no font, no request. Text is escaped."""
    return _environment().get_template(template).render(content)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("vse_lightning.pages", "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["jpeg"] = lambda picture: jpeg_of(thumbnail(picture))
    made.filters["data_uri"] = lambda jpeg: "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")
    return made
