"""The data of a config for ``fit``, without its model and trainer."""

from __future__ import annotations

from typing import Any

from vse_lightning.cli.program import RetrievalCLI


class _DataOnly(RetrievalCLI):
    def instantiate_classes(self) -> None:
        config = self.config.clone()
        for unneeded in ("model", "trainer"):
            config["fit"].pop(unneeded, None)
        self.datamodule = self.parser.instantiate_classes(config)["fit"]["data"]

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing: only the data is wanted."""


def read_data(configs: list[str], options: list[str]) -> Any:
    """The data module that configs describe, or None where they describe none.

    Args:
        configs: files, as ``--config`` of ``fit``.
        options: what else ``fit`` would be given, such as ``--data.init_args.source.init_args.num_images=20``.
    """
    files = [part for config in configs for part in ("--config", config)]
    return _DataOnly(["fit", *files, *options]).datamodule
