"""``python -m vse_lightning`` is ``vse-lightning``."""

from vse_lightning.cli import main

main()
