"""``vse-lightning label``: compute the labels of a config ahead of training, and say where they are."""

from pathlib import Path
from typing import Any

from lightning import LightningDataModule


def label(data: LightningDataModule, force: bool = False) -> None:
    """Compute and cache the labels of a config ahead of training.

    These are the caption features behind the labels, so that training starts at once: those of the labels trained on
    for the split train, those of eval_relevance for val and test, of eval_sources too. Sources that are quick to make
    (CIDEr-D, LSA, precomputed vectors) keep nothing on disk and are left out.

      vse-lightning label --config flickr30k.yaml
      vse-lightning label --config flickr30k.yaml --data.init_args.relevance my_module.MySource

    Args:
        data: the data, as in a config for fit.
        force: make the features again although they are there.
    """
    if not hasattr(data, "eval_relevance"):
        raise ValueError(f"data must be an ImageTextDataModule to have labels, got {type(data).__name__}")
    data.setup("predict")  # fills the lists of captions that the tables will be made for, and makes no table
    _print_files(precompute(data, force))


def precompute(datamodule: Any, force: bool = False) -> list[tuple[str, int, Path]]:
    """Cache the labels of an ``ImageTextDataModule`` that is set up: sources, numbers of captions and files."""
    wanted = [] if datamodule.relevance is None else [(datamodule.relevance, datamodule.train_captions)]
    evaluated = [datamodule.eval_captions, *datamodule.eval_source_captions.values()]
    wanted += [(source, captions) for source in datamodule.eval_relevance.values() for captions in evaluated]
    files: dict[Path, tuple[str, int, Path]] = {}
    for source, captions in wanted:
        if isinstance(source, str) or not captions:  # "source": the data knows its labels
            continue
        if datamodule.cache_dir is not None:
            source.cache_dir = datamodule.cache_dir
        for path in source.precompute(captions, force):
            files[path] = (source.name, len(captions), path)
    return list(files.values())


def _print_files(files: list[tuple[str, int, Path]]) -> None:
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
