"""Graded truth of the user's own: a matrix that says how relevant each text is to each image, and what matches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.array_files import read_arrays
from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.label_sources import Labels
from vse_lightning.cli.evaluate.model_files import ModelOutput, finite_matrix
from vse_lightning.paths import existing_path
from vse_lightning.ranking.relevance_blocks import RelevanceMatrix, within_range


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
