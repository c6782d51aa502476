"""The API reference: a page for each room of the package, from docstrings alone. ``.ci/docs`` makes it."""

import importlib
from types import FunctionType

from sphinx.addnodes import desc_signature

PAGES = [
    f"vse_lightning.{name}"
    for name in (
        *("losses", "functional", "metrics", "mixins", "relevance", "data", "models", "callbacks"),
        *("cli", "functional.ranking", "relevance.cache", "targets", "words", "embedding_files"),
    )
]
OTHERS = "collections|lightning|pathlib|scipy|sklearn|tokenizers|torch|torchmetrics|transformers"

project = "vse_lightning"
author = "The vse_lightning authors"
release = importlib.import_module("vse_lightning").__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"vse_lightning {release}"
html_show_copyright = False
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "extra_repr"}
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_custom_sections = ["Relations", "Shape"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", rf"({OTHERS})\..*"), ("py:class", "Direction")]


def write_pages(folder):
    """Write the pages; what a room shows says from now on that it is from there, not from the file behind it."""
    classes = []
    for name in PAGES:
        module = importlib.import_module(name)
        for shown in (getattr(module, each) for each in getattr(module, "__all__", ())):
            if getattr(shown, "__module__", "").startswith("vse_lightning."):
                shown.__module__ = name
                classes += [shown] if isinstance(shown, type) else []
        (folder / f"{name}.rst").write_text(f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n")
    start = "vse_lightning\n=============\n\n.. automodule:: vse_lightning\n   :no-members:\n"
    contents = "\n".join(f"   {name}" for name in PAGES)
    (folder / "index.rst").write_text(f"{start}\n.. toctree::\n   :maxdepth: 2\n\n{contents}\n")
    for cls in sorted(classes, key=lambda cls: len(cls.__mro__)):
        show_inherited(cls)


def show_inherited(cls):
    """Show the methods of bases that have no page with the first class that has one."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("vse_lightning.") and base.__module__ not in PAGES:
            for name in vars(base):
                shown = any(name in vars(each) for each in cls.__mro__ if each.__module__ in PAGES)
                if not name.startswith("_") and not shown and isinstance(getattr(cls, name, None), FunctionType):
                    setattr(cls, name, getattr(cls, name))


def lengthen_names(app, what, name, obj, options, lines):
    """Of functional.triplet, the short name that a loss calls its function by, make a reference."""
    lines[:] = [line.replace(":func:`functional.", ":func:`~vse_lightning.functional.") for line in lines]


def keep_public_bases(app, name, obj, options, bases):
    """Of the bases of a class only those that have a page."""
    bases[:] = [base for base in bases if getattr(base, "__module__", "") in PAGES] or [object]


def leave_signatures_alone(app, env, node, text):
    """A type in a signature, or an error, may be one that no page shows; what a text refers to may not."""
    if node["reftype"] == "exc":
        return text
    while node is not None and not isinstance(node, desc_signature):
        node = node.parent
    return None if node is None else text


def setup(app):
    """Called by Sphinx."""
    write_pages(app.srcdir)
    app.connect("autodoc-process-docstring", lengthen_names)
    app.connect("autodoc-process-bases", keep_public_bases)
    app.connect("missing-reference", leave_signatures_alone)
