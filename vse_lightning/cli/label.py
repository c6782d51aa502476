"""``vse-lightning label``: compute the labels of a config ahead of training, and say where they are."""

import argparse
from pathlib import Path
from typing import Any

from lightning import LightningDataModule

from vse_lightning.cli.config_data import read_data

DESCRIPTION = """\
Compute and cache the caption features behind the labels of a config, so that training starts at once:
the labels trained on for the split train, those of eval_relevance for val and test. Sources that are quick to make
(CIDEr-D, LSA, precomputed vectors) keep nothing on disk and are left out."""


def run(args: list[str]) -> None:
    """Fill the cache of the data module that the configs describe.

    Args:
        args: ``--config FILE`` as for ``fit``, any ``--data...`` option, and ``--force``.
    """
    parser = argparse.ArgumentParser(
        "vse-lightning label", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", "-c", action="append", required=True, help="as for fit; may be repeated")
    parser.add_argument("--force", action="store_true", help="make the features again although they are there")
    options, rest = parser.parse_known_args(args)
    datamodule = _datamodule(options.config, rest)
    datamodule.setup("predict")  # fills the lists of captions that the tables will be made for, and makes no table
    print_files(precompute(datamodule, options.force))


def precompute(datamodule: Any, force: bool = False) -> list[tuple[str, int, Path]]:
    """Cache the labels of an ``ImageTextDataModule`` that is set up.

    Returns:
        Source, number of captions and file of each list of captions that has one.
    """
    wanted = [] if datamodule.relevance is None else [(datamodule.relevance, datamodule.train_captions)]
    wanted += [(source, datamodule.eval_captions) for source in datamodule.eval_relevance.values()]
    files: dict[Path, tuple[str, int, Path]] = {}
    for source, captions in wanted:
        if isinstance(source, str) or not captions:  # "source": the data knows its labels
            continue
        if datamodule.cache_dir is not None:
            source.cache_dir = datamodule.cache_dir
        for path in source.precompute(captions, force):
            files[path] = (source.name, len(captions), path)
    return list(files.values())


def print_files(files: list[tuple[str, int, Path]]) -> None:
    """Print where the features are and how big."""
    from rich.console import Console
    from rich.table import Table

    if not files:
        Console().print("nothing to cache: no label source of this config keeps anything on disk")
        return
    table = Table("labels", "captions", "size")
    table.add_column("file", overflow="fold")
    for name, captions, path in files:
        table.add_row(name, f"{captions:,}", f"{path.stat().st_size / 1e6:.1f} MB", str(path))
    Console().print(table)


def _datamodule(configs: list[str], options: list[str]) -> Any:
    datamodule = read_data(configs, options)
    if not isinstance(datamodule, LightningDataModule) or not hasattr(datamodule, "eval_relevance"):
        raise ValueError(f"data must be an ImageTextDataModule to have labels, got {type(datamodule).__name__}")
    return datamodule
