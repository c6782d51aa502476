"""``vse-lightning search``: index once, then look up texts and pictures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

from vse_lightning.checks import require, require_whole
from vse_lightning.cli.config_data import read_data
from vse_lightning.cli.own_files import require_own
from vse_lightning.cli.search.answers import answer, read_queries, search_page
from vse_lightning.cli.search.collection import Collection, collect_folder, collect_splits
from vse_lightning.cli.search.index import FORMAT, SearchIndex
from vse_lightning.cli.search.indexing import make_index
from vse_lightning.cli.search.options import parser
from vse_lightning.cli.search.table import print_answers, print_line
from vse_lightning.data import ImageTextDataModule
from vse_lightning.data.files.paths import existing_path
from vse_lightning.models import load_retriever
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages import PAGE_MARK
from vse_lightning.relevance.cache import file_digest


def run(args: list[str]) -> None:
    """Index what is not indexed yet, then search it.

    Args:
        args: as ``vse-lightning search --help`` describes them.

    Raises:
        FileNotFoundError: the checkpoint, the index, a folder or a picture is not there.
        ValueError: an option is out of its range, the index is another model's, or a picture cannot be read.
    """
    command = parser()
    options, of_config = command.parse_known_args(args)
    _check(command, options, of_config)
    queries = read_queries(options.text, options.image)
    model, index = _open_or_make(options, of_config)
    if queries:
        answers = answer(model, index, queries, options.find, options.top_k)
        print_answers(answers, index)
        if options.html is not None:
            options.html.write_text(search_page(answers, index), encoding="utf-8")
            print_line(f"page: {options.html}")


def _open_or_make(options: Namespace, of_config: list[str]) -> tuple[Retriever, SearchIndex]:
    """The model and its index."""
    checkpoint = existing_path("--ckpt_path", options.ckpt_path)
    sha256 = file_digest(checkpoint)
    if options.index.exists() and not options.force:
        index = SearchIndex.load(options.index)
        index.check_checkpoint(checkpoint, sha256)
        if options.images is not None:
            index.check_folder(existing_path("--images", options.images))
        again = "; --force indexes again" if options.images or options.config else ""
        print_line(f"{options.index}: {_content(index)}, indexed before{again}")
        return _load(checkpoint), index
    collection = _collect(options, of_config)
    model = _load(checkpoint)
    index = make_index(model, checkpoint, sha256, collection, options.batch_size, options.num_workers)
    index.save(options.index)
    print_line(f"{options.index}: {_content(index)}, {options.index.stat().st_size / 1e6:,.1f} MB")
    unread = sorted(set(collection.names) - set(index.names))
    if unread:
        some = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
        print_line(f"left out, because they cannot be read: {len(unread):,} of {len(collection.names):,}: {some}")
    return model, index


def _load(checkpoint: Path) -> Retriever:
    return load_retriever(checkpoint).to("cuda" if torch.cuda.is_available() else "cpu")


def _check(command: ArgumentParser, options: Namespace, of_config: list[str]) -> None:
    """What can be known to be wrong before any work begins."""
    if of_config and not options.config:
        command.error(f"unrecognized arguments: {' '.join(of_config)}")
    for name in ("top_k", "batch_size"):
        require_whole(f"--{name}", getattr(options, name))
    if options.num_workers is not None:
        require_whole("--num_workers", options.num_workers, least=0)
    for name in ("index", "html"):
        path: Path | None = getattr(options, name)
        require(path is None or path.parent.is_dir(), f"--{name} must be in a folder that exists, got {{}}", path)
        require(path is None or not path.is_dir(), f"--{name} must be a file, got the folder {{}}", path)
    require_own("--html", options.html, PAGE_MARK)
    if options.force:
        require_own("--index", options.index, FORMAT)
    both = options.images is not None and bool(options.config)
    require(not both, "--images and --config are two things to index: give one of them")
    require(bool(options.config) or options.split is None, "--split is for the data of --config, got {}", options.split)
    asked = bool(options.text or options.image)
    require(asked or options.html is None, "--html shows what is found: give --text or --image")
    to_do = asked or options.images is not None or bool(options.config)
    require(to_do, "there is nothing to do: give --images or --config to index, --text or --image to search")


def _collect(options: Namespace, of_config: list[str]) -> Collection:
    if options.images is not None:
        return collect_folder(options.images)
    if not options.config:
        remedy = "give --images or --config to index something"
        require(not options.force, "--force indexes again: {}", remedy)
        raise FileNotFoundError(f"--index: there is no {str(options.index)!r} yet: {remedy}")
    data = read_data(options.config, of_config)
    if not isinstance(data, ImageTextDataModule):
        raise ValueError(f"data must be an ImageTextDataModule to be indexed, got {type(data).__name__}")
    own = data.text is None and data.transforms is None
    require(own, "data must have no text and no transforms: queries are prepared as the model does it, without them")
    return collect_splits(data.source, options.split or [data.predict_split])


def _content(index: SearchIndex) -> str:
    captions = f" and {len(index.captions):,} captions" if index.captions else ""
    return f"{len(index.names):,} pictures{captions} of {index.origin}"
