"""The options of ``vse-lightning evaluate``, with the definitions that its numbers rest on."""

from __future__ import annotations

import argparse
from pathlib import Path

from vse_lightning.cli.arrays import ArrayNames
from vse_lightning.cli.comparison import Resampling
from vse_lightning.cli.measuring import MeasuringOptions

DESCRIPTION = """\
Evaluate models from their outputs: embeddings or scores in, a table and JSON out. Several models stand side
by side, with a star where one differs significantly from the first.

  vse-lightning evaluate clip.npz --captions dataset_flickr30k.json --labels sbert --intervals
  vse-lightning evaluate ours=images.npy,texts.npy theirs=scores.npy --captions test_caps.txt --captions-per-image 5
  vse-lightning evaluate runs/ours/version_0/embeddings --captions dataset_flickr30k.json --labels cider"""

DEFINITIONS = """\
definitions:
  R@K     share of the queries with any positive among the K best candidates; positives are the captions of the image.
          The rank is 1 + the candidates that are no positives and score at least as high as the best positive: a tie
          never helps.
  rsum    the recalls of both directions in percent, added up: 0 to 600 for three cut-offs.
  NDCG@K  gains 2^relevance - 1, discount log2(1 + rank), divided by the same sum of the list
          sorted by relevance. Tied candidates share their gains, as in scikit-learn.
  CS@K    Coherent Score: Kendall's tau-b between score and relevance over the K best-scored candidates; of those that
          tie across the cut the first are taken; a constant list counts 0.
  PMRP    R-Precision where image and text match if the object categories of their images differ in 0, 1 or 2, averaged
          over the three (PCME); images without objects are left out.
  Relevance comes from the captions of the image (1 for its own), so it depends on --labels: values of NDCG and CS under
  different labels cannot be compared.

protocols:
  Image queries rank all captions that are evaluated, text queries all images, any number of captions per image. COCO 1K
  is --folds 5 on the 5,000 test images; the protocol of the Ladder loss paper is --first-captions 1.

statistics:
  --intervals are percentile bootstrap intervals over images with all their captions. A star is a p-value below --level
  in the paired randomisation test against the first model, which swaps the values of whole images. Neither knows the
  variance between training runs, and p-values are not corrected for the number of comparisons. The median rank gets
  neither."""


def parser() -> argparse.ArgumentParser:
    """The parser; defaults are those of the classes that take the values."""
    protocol, names, resampling = MeasuringOptions(), ArrayNames(), Resampling()
    made = argparse.ArgumentParser(
        "vse-lightning evaluate",
        description=DESCRIPTION,
        epilog=DEFINITIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]FILE[,FILE]",
        help="embeddings: .npz, .safetensors or .pt with arrays of images and of texts, or two files IMAGES,TEXTS; "
        "or a folder that predict wrote; scores (images x texts): one .npy, or an array of a file. Nothing is "
        "unpickled. Rows are the images and captions that are evaluated, or all of the captions file, in its "
        "order; those of a folder go by their ids, which tell which caption belongs to which image as well",
    )
    captions = made.add_argument_group("which caption belongs to which image")
    captions.add_argument(
        "--captions",
        metavar="FILE",
        help="Karpathy JSON, COCO's captions_*.json sorted by image, a table with columns image and caption (CSV, TSV, "
        "JSON, Flickr8k's captions.txt and token.txt), or a text file with one caption per line; rows follow its order",
    )
    captions.add_argument("--split", help="of the JSON (default: test, or the only one)")
    captions.add_argument(
        "--captions-per-image", type=int, metavar="N", help="of a text file, or of embeddings without captions"
    )
    captions.add_argument(
        "--image-ids", metavar="FILE", help="instead: an image id per caption, as lines, .npy or JSON list"
    )
    captions.add_argument("--image-key", default=names.image_embeds, help="array of images (default: %(default)s)")
    captions.add_argument("--text-key", default=names.text_embeds, help="array of texts (default: %(default)s)")
    captions.add_argument("--scores-key", default=names.scores, help="array of scores (default: %(default)s)")

    metrics = made.add_argument_group("what is computed")
    metrics.add_argument(
        "--labels",
        action="append",
        default=[],
        metavar="SOURCE",
        help="graded relevance for NDCG and Coherent Score; may be repeated: sbert (the bundled all-MiniLM-L6-v2), "
        "sbert:MODEL, cider, lsa, lsa:DIMENSIONS, or an .npy file with a vector per caption. cider and lsa are "
        "fitted on the train split of the captions file, or without one on the evaluated captions. Default: recalls "
        "only",
    )
    for name, of in (("recall", "R@K"), ("ndcg", "NDCG@K"), ("coherent", "CS@K")):
        default = getattr(protocol, f"{name}_ks")
        shown = ",".join(map(str, default))
        metrics.add_argument(
            f"--{name}-ks", type=_cutoffs, default=default, metavar="K,...", help=f"of {of} (default: {shown})"
        )
    metrics.add_argument("--ranks", action="store_true", help="add the median and mean rank of the best positive")
    metrics.add_argument(
        "--eccv", action="store_true", help="add ECCV Caption and CxC, for a Karpathy JSON with COCO ids (extra eccv)"
    )
    metrics.add_argument(
        "--eccv-data", type=Path, metavar="FOLDER", help="their data, instead of the installed package"
    )
    metrics.add_argument(
        "--pmrp",
        type=Path,
        metavar="FILE",
        help="add PMRP, from COCO's instances_val2014.json, for a Karpathy JSON with COCO ids",
    )
    metrics.add_argument(
        "--folds", type=int, default=protocol.folds, metavar="N", help="average over N consecutive folds of the images"
    )
    metrics.add_argument(
        "--first-captions",
        type=int,
        metavar="N",
        help="keep only the first N captions of each image, in the gallery and in the relevance",
    )

    sureness = made.add_argument_group("how sure it is")
    sureness.add_argument(
        "--intervals",
        type=float,
        nargs="?",
        const=0.95,
        metavar="CONFIDENCE",
        help="show intervals (0.95 if not given)",
    )
    sureness.add_argument(
        "--level", type=float, default=resampling.level, help="p-values below it get a star (default: %(default)s)"
    )
    sureness.add_argument("--resamples", type=int, default=resampling.resamples, help="(default: %(default)s)")
    sureness.add_argument("--seed", type=int, default=resampling.seed, help="(default: %(default)s)")

    files = made.add_argument_group("files")
    files.add_argument("--output", type=Path, metavar="FILE", help="write everything as JSON")
    files.add_argument("--write-trec", type=Path, metavar="FOLDER", help="write runs and judgements for trec_eval")
    files.add_argument(
        "--trec-depth", type=int, default=100, metavar="N", help="candidates per query in these (default: %(default)s)"
    )
    return made


def _cutoffs(text: str) -> tuple[int, ...]:
    return tuple(int(k) for k in text.split(",") if k)
