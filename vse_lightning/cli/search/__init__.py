"""``vse-lightning search``: a text or a picture in, ranked pictures or captions out."""

from vse_lightning.cli.search.command import run

__all__ = ["run"]
