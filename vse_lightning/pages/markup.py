"""HTML in which no text can be mistaken for markup."""

from html import escape

_VOID = frozenset({"img", "meta"})


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An HTML or SVG element.

    Args:
        name: of the element.
        children: what it contains; all but :class:`Markup` is escaped.
        attributes: escaped; ``class_`` is ``class`` and ``aria_label`` is ``aria-label``; None and False are left out.

    Example:
        >>> element("p", "a < b", element("b", "!"), class_="note")
        '<p class="note">a &lt; b<b>!</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*parts: object) -> Markup:
    """Elements and texts one after the other; all but :class:`Markup` is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))
