"""What is relevant: by label sources, under the names of a command line, or by a matrix of the user's own."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.array_files import read_arrays
from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.model_files import ModelOutput, finite_matrix
from vse_lightning.paths import existing_path
from vse_lightning.ranking.relevance_blocks import RelevanceMatrix, within_range
from vse_lightning.relevance import (
    CIDErRelevance,
    FeatureTable,
    LSARelevance,
    RelevanceSource,
    SBERTRelevance,
)
from vse_lightning.targets import LabelTable


class Labels(NamedTuple):
    """A table of graded relevance, what a reader should know of it, and its short name."""

    table: LabelTable
    description: str
    name: str


def make_labels(
    sources: Sequence[str | RelevanceSource], captions: Captions, given: Labels | None = None
) -> dict[str, Labels]:
    """Make the tables for the evaluated captions, behind the labels that are given.

    Sources are named ``sbert`` (the bundled MiniLM), ``sbert:MODEL``, ``cider``, ``lsa``, ``lsa:DIMENSIONS``, by an
    ``.npy`` file, or by the dotted path of a class that needs no arguments.

    Returns:
        Tables by what is added to the names of the metrics: nothing for the first, ``_`` and a short name for others.
    """
    short = [_short(source) for source in sources]
    require(len(set(short)) == len(short), "--labels must differ, got {}", ", ".join(short))
    made = {f"_{name}": _labels(source, captions) for name, source in zip(short, sources, strict=True)}
    first = given or (made.pop(f"_{short[0]}") if short else None)
    return made if first is None else {"": first, **made}


def _short(source: str | RelevanceSource) -> str:
    if not isinstance(source, str):
        return type(source).__name__
    if source.endswith(".npy"):
        return Path(source).stem
    kind, _, setting = source.partition(":")
    return kind if setting else source.rpartition(".")[2]


def _labels(named: str | RelevanceSource, captions: Captions) -> Labels:
    if isinstance(named, str) and named.endswith(".npy"):
        precomputed = _from_file(named, captions)
        return Labels(precomputed, precomputed.label, _short(named))
    source = _source(named) if isinstance(named, str) else named
    require(len(captions.texts) > 0, "--labels {} needs the text of the captions: give --captions", _short(named))
    fitted = ""
    if type(source).fit is not RelevanceSource.fit:  # which learns nothing
        train = captions.train_image_ids
        fit_ids = captions.texts_of(captions.image_ids if train is None else train)
        source.fit(captions.texts_at(fit_ids), captions.text_image_ids[fit_ids])
        where = "the evaluated captions themselves, as there is no train split" if train is None else "the train split"
        fitted = f", fitted on {where} ({len(fit_ids):,} captions)"
    text_ids = captions.text_ids
    try:
        table = source.table(captions.texts_at(text_ids), captions.text_image_ids[text_ids], text_ids)
    except RuntimeError as error:
        raise ValueError(f"--labels {_short(named)}: {error}") from error
    return Labels(table, source.name + fitted, _short(named))


def _source(name: str) -> RelevanceSource:
    kind, _, setting = name.partition(":")
    if kind == "sbert":
        return SBERTRelevance(setting or "bundled")
    if kind == "lsa" and (not setting or setting.isdecimal()):
        return LSARelevance(int(setting)) if setting else LSARelevance()
    if name == "cider":
        return CIDErRelevance()
    module, _, attribute = name.rpartition(".")
    source = getattr(import_module(module), attribute, None) if module else None
    known = "sbert[:MODEL], cider, lsa[:DIMENSIONS], a .npy file or the dotted path of a RelevanceSource"
    if not (isinstance(source, type) and issubclass(source, RelevanceSource)):
        raise ValueError(f"--labels must be {known}, got {name!r}")
    return source()


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


class GradedTruth(NamedTuple):
    """What is relevant, and what of it counts as a match."""

    labels: Labels  # the matrix as a label source, called as its file
    matches: Tensor  # (N, M) bool, of the images and texts that are evaluated


class GivenRelevance(NamedTuple):
    """What a file holds."""

    file: str
    matrix: Tensor  # (images, texts), in [0, 1]

    @property
    def name(self) -> str:
        """Without its folder."""
        return Path(self.file).name


def read_relevance(file: str) -> GivenRelevance:
    """The matrix of a file, images x texts in [0, 1]; whole numbers and truth values are numbers too."""
    option = f"--relevance {file}"
    arrays = read_arrays(existing_path("--relevance", file))
    require(len(arrays) == 1, "{} must hold one array, images x texts, got {}", option, ", ".join(arrays))
    (read,) = arrays.values()
    relevance = read()
    graded = relevance.is_floating_point() or relevance.is_complex()
    matrix = within_range(finite_matrix(option, relevance if graded else relevance.float()), option)
    return GivenRelevance(file, matrix)


def graded_truth(
    given: GivenRelevance | None, threshold: float, captions: Captions, models: Sequence[ModelOutput]
) -> GradedTruth | None:
    """Bring a matrix, if there is one, into the order of the evaluated images and texts, which the models have too.

    It is for these, or for all of the captions file; an image's own captions are relevance 1.
    """
    require(given is not None or threshold == 1, "--positive_threshold is about --relevance, which is not given")
    if given is None:
        return None
    file, relevance = given
    require(0 < threshold <= 1, "--positive_threshold must lie above 0 and be at most 1, got {}", threshold)
    image_ids, text_ids = captions.image_ids, captions.text_ids
    shapes = {model.name: (len(model.image_embeds), len(model.text_embeds)) for model in models}
    of_rows = {shape: name for name, shape in reversed(shapes.items())}
    evaluated, found = (len(image_ids), len(text_ids)), tuple(relevance.shape)
    whole = len(torch.unique(captions.text_image_ids)), len(captions.text_image_ids)
    columns = torch.arange(len(text_ids))
    if captions.paired:
        message = "--relevance {} must be images x texts, {} for {} or {} for the whole file, got {}{}"
        fits = found in (evaluated, whole)
        require(fits, message, file, evaluated, captions.origin, whole, found, _hint(found, (evaluated, whole)))
        if found != evaluated:
            relevance = relevance[image_ids][:, text_ids]
        relevance[torch.searchsorted(image_ids, captions.text_image_ids[text_ids]), columns] = 1
    else:
        other = [(shape, name) for shape, name in of_rows.items() if shape != found][:1]
        message = "--relevance {} must be images x texts, {} as the arrays of {}, got {}{}"
        require(not other, message, file, *(other[0] if other else ("", "")), found, _hint(found, [*of_rows]))
    matches = relevance >= threshold
    message = (
        "--relevance {} must have values of at least --positive_threshold {:g}, which are matches; the largest is {}"
    )
    require(bool(matches.any()), message, file, threshold, float(relevance.max()))
    table = RelevanceMatrix(relevance, image_ids, text_ids, label=given.name)
    return GradedTruth(Labels(table, f"{given.name}, where at least {threshold:g} is a match", given.name), matches)


def _hint(found: tuple[int, ...], expected: Sequence[tuple[int, ...]]) -> str:
    return ": transpose it" if found[::-1] in expected else ""
