"""``vse-lightning export``: both towers of a checkpoint as programs that need no vse_lightning."""

from vse_lightning.cli.export.command import export

__all__ = ["export"]
