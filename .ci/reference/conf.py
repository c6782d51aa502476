"""The API reference: a page for each room of the package, from docstrings alone. ``.ci/docs`` makes it."""

import importlib

from sphinx.addnodes import desc_signature

PAGES = [
    f"vse_lightning.{name}"
    for name in (
        *("losses", "functional", "metrics", "mixins", "relevance", "data", "models", "callbacks"),
        *("targets", "words", "embedding_files"),
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
nitpick_ignore_regex = [(r"py:.*", rf"({OTHERS})\..*")]


def write_pages(folder):
    """Write the pages; what a room shows says from now on that it is from there, not from the file behind it."""
    for name in PAGES:
        module = importlib.import_module(name)
        for shown in (getattr(module, each) for each in getattr(module, "__all__", ())):
            if getattr(shown, "__module__", "").startswith("vse_lightning."):
                shown.__module__ = name
        (folder / f"{name}.rst").write_text(f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n")
    start = "vse_lightning\n=============\n\n.. automodule:: vse_lightning\n   :no-members:\n"
    contents = "\n".join(f"   {name}" for name in PAGES)
    (folder / "index.rst").write_text(f"{start}\n.. toctree::\n   :maxdepth: 2\n\n{contents}\n")


def keep_public_bases(app, name, obj, options, bases):
    """Of the bases of a class only those that have a page."""
    bases[:] = [base for base in bases if getattr(base, "__module__", "") in PAGES] or [object]


def leave_signatures_alone(app, env, node, text):
    """A type in a signature may be one that no page shows; what a text refers to may not."""
    while node is not None and not isinstance(node, desc_signature):
        node = node.parent
    return None if node is None else text


def setup(app):
    """Called by Sphinx."""
    write_pages(app.srcdir)
    app.connect("autodoc-process-bases", keep_public_bases)
    app.connect("missing-reference", leave_signatures_alone)
