"""``vse-lightning export``: both towers of a checkpoint as programs that need no vse_lightning."""

from vse_lightning.commands.export.command import run

__all__ = ["run"]
