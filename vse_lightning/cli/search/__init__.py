"""``vse-lightning search``: a text or a picture in, ranked pictures or captions out."""

from vse_lightning.cli.search.command import search

__all__ = ["search"]
