"""``vse-lightning search``: a text or a picture in, ranked pictures or captions out."""

from vse_lightning.commands.search.command import run

__all__ = ["run"]
