"""The command ``vse-lightning``: one module for each of its commands."""

from vse_lightning.cli.program import main

__all__ = ["main"]
