"""``vse-lightning search``: index once, then look up texts and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule

from vse_lightning.checks import require, require_whole
from vse_lightning.cli.overwriting import require_own
from vse_lightning.cli.search.answers import answer, read_queries, search_page
from vse_lightning.cli.search.index_file import FORMAT, SearchIndex
from vse_lightning.cli.search.indexing import Pictures, make_index, pictures_of_folder, pictures_of_splits
from vse_lightning.cli.search.printing import print_answers
from vse_lightning.data import ImageTextDataModule
from vse_lightning.digests import file_digest
from vse_lightning.models import load_retriever
from vse_lightning.models.retriever import Retriever
from vse_lightning.pages import PAGE_MARK
from vse_lightning.paths import existing_path
from vse_lightning.report import print_line
from vse_lightning.whole_files import whole_file


def search(
    ckpt_path: Path,
    index: Path,
    images: Path | None = None,
    data: LightningDataModule | None = None,
    split: tuple[str, ...] = (),
    force: bool = False,
    batch_size: int = 64,
    num_workers: int | None = None,
    text: tuple[str, ...] = (),
    image: tuple[str, ...] = (),
    find: Literal["images", "captions"] | None = None,
    top_k: int = 10,
    html: Path | None = None,
    trust: tuple[str, ...] = (),
) -> None:
    """Find pictures or captions for a text or a picture, with a trained model.

    A folder of pictures, or the data of a config, is indexed once; then texts or pictures are looked up in it. Both can
    be one command: what is indexed already is not indexed again.

      vse-lightning search --ckpt_path best.ckpt --index photos.index --images ~/photos
      vse-lightning search --ckpt_path best.ckpt --index photos.index --text "a dog on a beach" "two cats" --html a.html
      vse-lightning search --ckpt_path best.ckpt --index photos.index --image query.jpg --find images
      vse-lightning search --ckpt_path best.ckpt --index shapes.index --config quickstart.yaml --text "a red circle"

    The index holds the embeddings, the captions and a thumbnail of each picture: searching needs only it and the
    checkpoint. Every search compares with all that is indexed: nothing is approximated.

    Args:
        ckpt_path: the trained model, as fit writes it.
        index: the file where the index is, or goes; for this model only.
        images: index all pictures in this folder and below.
        data: index pictures (or features) and captions of this data, as in a config for fit.
        split: of the data; by default its predict_split.
        force: index again although the index is there.
        batch_size: embedded at a time.
        num_workers: processes that read pictures; by default as many as CPUs, up to 8.
        text: queries in words.
        image: files of queries that are pictures.
        find: what to rank; by default images for a text, captions for a picture, or images if no captions are indexed.
        top_k: how many to show of each.
        html: write a page with the pictures, which opens without a network.
        trust: modules whose classes the checkpoint may name.

    Raises:
        FileNotFoundError: the checkpoint, the index, a folder or a picture is not there.
        ValueError: an option is out of its range, the index is another model's, or a picture cannot be read.
    """
    _check_numbers(top_k, batch_size, num_workers)
    require_own("--html", html, PAGE_MARK)
    if force or not index.is_file():
        require_own("--index", index, FORMAT)
    both = images is not None and data is not None
    require(not both, "--images and --config are two things to index: give one of them")
    require(data is not None or not split, "--split is for the data of --config, got {}", ", ".join(split))
    asked = bool(text or image)
    require(asked or html is None, "--html shows what is found: give --text or --image")
    to_do = asked or images is not None or data is not None
    require(to_do, "there is nothing to do: give --images or --config to index, --text or --image to search")
    queries = read_queries(text, image)
    checkpoint = existing_path("--ckpt_path", ckpt_path)
    sha256 = file_digest(checkpoint)
    if index.exists() and not force:
        indexed = SearchIndex.load(index)
        indexed.check_checkpoint(checkpoint, sha256)
        if images is not None:
            indexed.check_folder(existing_path("--images", images))
        again = "; --force indexes again" if images or data else ""
        print_line(f"{index}: {_content(indexed)}, indexed before{again}")
        model = _load(checkpoint, trust)
    else:
        pictures = _collect(index, images, data, split, force=force)
        model = _load(checkpoint, trust)
        indexed = make_index(model, checkpoint, sha256, pictures, batch_size, num_workers)
        indexed.save(index)
        _print_indexed(index, indexed, pictures)
    if queries:
        answers = answer(model, indexed, queries, find, top_k)
        print_answers(answers, indexed)
        if html is not None:
            with whole_file(html) as written:
                written.write_text(search_page(answers, indexed), encoding="utf-8")
            print_line(f"page: {html}")


def _check_numbers(top_k: int, batch_size: int, num_workers: int | None) -> None:
    require_whole("--top_k", top_k)
    require_whole("--batch_size", batch_size)
    if num_workers is not None:
        require_whole("--num_workers", num_workers, least=0)


def _load(checkpoint: Path, trust: Sequence[str]) -> Retriever:
    return load_retriever(checkpoint, trust).to("cuda" if torch.cuda.is_available() else "cpu")


def _collect(index: Path, images: Path | None, data: Any, splits: Sequence[str], *, force: bool) -> Pictures:
    if images is not None:
        return pictures_of_folder(images)
    if data is None:
        remedy = "give --images or --config to index something"
        require(not force, "--force indexes again: {}", remedy)
        raise FileNotFoundError(f"--index: there is no {str(index)!r} yet: {remedy}")
    if not isinstance(data, ImageTextDataModule):
        raise ValueError(f"data must be an ImageTextDataModule to be indexed, got {type(data).__name__}")
    own = data.text is None and data.transforms is None
    require(own, "data must have no text and no transforms: queries are prepared as the model does it, without them")
    return pictures_of_splits(data.source, splits or [data.predict_split])


def _print_indexed(path: Path, index: SearchIndex, pictures: Pictures) -> None:
    print_line(f"{path}: {_content(index)}, {path.stat().st_size / 1e6:,.1f} MB")
    unread = sorted(set(pictures.names) - set(index.names))
    if unread:
        some = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
        print_line(f"left out, because they cannot be read: {len(unread):,} of {len(pictures.names):,}: {some}")


def _content(index: SearchIndex) -> str:
    captions = f" and {len(index.captions):,} captions" if index.captions else ""
    return f"{len(index.names):,} pictures{captions} of {index.origin}"
