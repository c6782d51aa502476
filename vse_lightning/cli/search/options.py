"""Options of ``vse-lightning search``."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Search with a trained model. A folder of pictures, or the data of a config, is indexed once; then texts or pictures are
looked up in it. Both can be one command: what is indexed already is not indexed again.

  vse-lightning search --ckpt_path best.ckpt --index photos.index --images ~/photos
  vse-lightning search --ckpt_path best.ckpt --index photos.index --text "a dog on a beach" "two cats" --html page.html
  vse-lightning search --ckpt_path best.ckpt --index photos.index --image query.jpg --find images
  vse-lightning search --ckpt_path best.ckpt --index shapes.index --config quickstart.yaml --text "a red circle"

The index holds the embeddings, the captions and a thumbnail of each picture: searching needs only it and the
checkpoint. Every search compares with all that is indexed: nothing is approximated."""


def parser() -> argparse.ArgumentParser:
    """The parser; what it does not know belongs to the config."""
    made = argparse.ArgumentParser(
        "vse-lightning search", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--ckpt_path", required=True, metavar="FILE", help="the trained model, as fit writes it")
    made.add_argument(
        "--index", required=True, type=Path, metavar="FILE", help="where the index is, or goes; for this model only"
    )

    indexing = made.add_argument_group("what is indexed, if it is not yet")
    indexing.add_argument("--images", metavar="FOLDER", help="all pictures in the folder and below")
    indexing.add_argument(
        "--config",
        "-c",
        action="append",
        default=[],
        metavar="FILE",
        help="pictures (or features) and captions of its data; as for fit, with any --data... option; may be repeated",
    )
    indexing.add_argument(
        "--split", action="append", metavar="NAME", help="of the data; may be repeated (default: its predict_split)"
    )
    indexing.add_argument("--force", action="store_true", help="index again although the index is there")
    indexing.add_argument(
        "--batch_size", type=int, default=64, metavar="N", help="embedded at a time (default: %(default)s)"
    )
    indexing.add_argument(
        "--num_workers", type=int, metavar="N", help="processes that read pictures (default: as many as CPUs, up to 8)"
    )

    searching = made.add_argument_group("what is searched")
    searching.add_argument("--text", nargs="+", action="extend", default=[], metavar="TEXT", help="queries in words")
    searching.add_argument(
        "--image", nargs="+", action="extend", default=[], metavar="FILE", help="queries that are pictures"
    )
    searching.add_argument(
        "--find",
        choices=("images", "captions"),
        help="what to rank (default: images for a text, captions for a picture; images if no captions are indexed)",
    )
    searching.add_argument(
        "--top_k", type=int, default=10, metavar="K", help="how many to show of each (default: %(default)s)"
    )
    searching.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with the pictures, which opens without a network"
    )
    return made
