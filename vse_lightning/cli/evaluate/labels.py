"""Label sources by the names that a command line has for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vse_lightning.array_files import read_arrays
from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.model_files import finite_matrix
from vse_lightning.data.files.paths import existing_path
from vse_lightning.relevance import (
    CIDErRelevance,
    FeatureTable,
    LSARelevance,
    RelevanceSource,
    RelevanceTable,
    SBERTRelevance,
)


class Labels(NamedTuple):
    """A table of graded relevance, and what a reader should know of it."""

    table: RelevanceTable
    description: str


def make_labels(names: Sequence[str], captions: Captions) -> dict[str, Labels]:
    """Make the tables for the evaluated captions.

    Args:
        names: of sources, as :func:`_source` knows them.
        captions: what to label.

    Returns:
        Tables by what is added to the names of the metrics: nothing for the first, ``_`` and a short name for others.

    Raises:
        ValueError: if a name is unknown or given twice, or there are no captions to derive labels from.
    """
    short = [Path(name).stem if name.endswith(".npy") else name.partition(":")[0] for name in names]
    require(len(set(short)) == len(short), "--labels must differ, got {}", ", ".join(names))
    suffixes = ["" if place == 0 else f"_{name}" for place, name in enumerate(short)]
    return {suffix: _labels(name, captions) for suffix, name in zip(suffixes, names, strict=True)}


def _labels(name: str, captions: Captions) -> Labels:
    if name.endswith(".npy"):
        precomputed = _from_file(name, captions)
        return Labels(precomputed, precomputed.label)
    source = _source(name)
    require(len(captions.texts) > 0, "--labels {} needs the text of the captions: give --captions", name)
    fitted = ""
    if isinstance(source, CIDErRelevance | LSARelevance):
        train = captions.train_image_ids
        fit_ids = captions.texts_of(captions.image_ids if train is None else train)
        source.fit(captions.texts_at(fit_ids), captions.text_image_ids[fit_ids])
        where = "the evaluated captions themselves, as there is no train split" if train is None else "the train split"
        fitted = f", fitted on {where} ({len(fit_ids):,} captions)"
    text_ids = captions.text_ids
    try:
        table = source.table(captions.texts_at(text_ids), captions.text_image_ids[text_ids], text_ids)
    except RuntimeError as error:
        raise ValueError(f"--labels {name}: {error}") from error
    return Labels(table, source.name + fitted)


def _source(name: str) -> RelevanceSource:
    """``sbert`` (the bundled MiniLM), ``sbert:MODEL``, ``cider``, ``lsa`` or ``lsa:DIMENSIONS``."""
    kind, _, setting = name.partition(":")
    if kind == "sbert":
        return SBERTRelevance(setting or "bundled")
    if kind == "lsa" and (not setting or setting.isdecimal()):
        return LSARelevance(int(setting)) if setting else LSARelevance()
    require(name == "cider", "--labels must be sbert[:MODEL], cider, lsa[:DIMENSIONS] or a .npy file, got {!r}", name)
    return CIDErRelevance()


def _from_file(path: str, captions: Captions) -> FeatureTable:
    """A table from one vector per caption, of the whole file or of those that are evaluated."""
    found = existing_path("--labels", path)
    features = finite_matrix(f"--labels {path}", read_arrays(found)[""]())
    text_ids = captions.text_ids
    counts = len(captions.text_image_ids), len(text_ids)
    message = "--labels {} must have a row for each of the {} captions of the file or of the {} evaluated, got {}"
    require(len(features) in counts, message, path, *counts, len(features))
    rows = text_ids if len(features) == counts[0] else torch.arange(len(features))
    image_ids = captions.text_image_ids[text_ids]
    return FeatureTable(features, image_ids, text_ids, rows, label=f"precomputed {found.name}")
