"""How far models and label sources order pairs as people rate them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions
from vse_lightning.cli.evaluate.comparison import Resampling
from vse_lightning.cli.evaluate.judgements import Judgements
from vse_lightning.cli.evaluate.label_sources import Labels
from vse_lightning.cli.evaluate.measuring import gallery_state
from vse_lightning.cli.evaluate.model_files import ModelOutput
from vse_lightning.functional._agreement import agreement
from vse_lightning.functional.significance import Interval

_COMPARED_AT_ONCE = 1 << 22
_DRAWN_AT_ONCE = 1 << 20


class Agreement(NamedTuple):
    """Of one model or label source with people."""

    correlations: Mapping[str, float]  # kendall_b, kendall_c and spearman
    interval: Interval  # of kendall_c

    def as_json(self) -> dict[str, Any]:
        """By name."""
        return {**self.correlations, "interval": list(self.interval)}

    def __str__(self) -> str:
        low, high = (f"{end:.3f}" for end in self.interval)
        tau_b, tau_c, rho = (f"{self.correlations[name]:.3f}" for name in ("kendall_b", "kendall_c", "spearman"))
        return f"tau-c {tau_c} [{low}, {high}], tau-b {tau_b}, Spearman {rho}"


class AgreementWithPeople(NamedTuple):
    """Of all models and label sources, by name."""

    judged: Judgements
    of_all: Mapping[str, Agreement]
    of_others: Mapping[str, Agreement]  # over texts that are no caption of the image; empty where all are such, or none

    @property
    def notes(self) -> list[str]:
        """Lines for a reader."""
        own = int(self.judged.own.sum())
        images = len(torch.unique(self.judged.images))
        lines = [f"people: {len(self.judged.ratings):,} ratings of {images:,} images, {own:,} of them of own captions"]
        for name, found in self.of_all.items():
            lines.append(f"agreement of {name} with people: {found}")
            lines += [f"  without own captions: {self.of_others[name]}"] if self.of_others else []
        return lines

    def as_json(self) -> dict[str, Any]:
        """By name, with the numbers of ratings."""
        of_others = {name: {"without_own_captions": found.as_json()} for name, found in self.of_others.items()}
        return {
            "ratings": len(self.judged.ratings),
            "ratings_of_own_captions": int(self.judged.own.sum()),
            "agreement": {name: {**found.as_json(), **of_others.get(name, {})} for name, found in self.of_all.items()},
        }


def agreement_with_people(
    judged: Judgements,
    models: Sequence[ModelOutput],
    labels: Mapping[str, Labels],
    captions: Captions,
    resampling: Resampling,
) -> AgreementWithPeople:
    """How far each model and label source agrees with people, with and without an image's own captions."""
    values = _values(judged, models, labels, captions)
    others = ~judged.own
    of_all = {name: agree(found, judged, resampling) for name, found in values.items()}
    told_apart = bool(judged.own.any()) and int(others.sum()) > 1
    rest = judged.select(others)
    of_others = {name: agree(found[others], rest, resampling) for name, found in values.items()} if told_apart else {}
    return AgreementWithPeople(judged, of_all, of_others)


def _values(
    judged: Judgements, models: Sequence[ModelOutput], labels: Mapping[str, Labels], captions: Captions
) -> dict[str, Tensor]:
    """What each model and label source says of the rated pairs ``(R,)``.

    A label source says how relevant the text is to the captions of the image, and 1 of its own captions.
    """
    values = {}
    for model in models:
        state = gallery_state(model, captions)
        images, texts, similarity = state["image_embeds"], state["text_embeds"], model.similarity
        values[model.name] = judged.values(lambda rows, columns: similarity(images[rows], texts[columns]))  # noqa: B023
    for source in labels.values():
        require(source.name not in values, "a model must not be called {} as a label source is", source.name)
        block, image_ids, text_ids = source.table.block, captions.image_ids, captions.text_ids
        found = judged.values(lambda rows, columns: torch.as_tensor(block(image_ids[rows], text_ids[columns])))  # noqa: B023
        values[source.name] = found.masked_fill(judged.own, 1)
    return values


def agree(values: Tensor, judged: Judgements, resampling: Resampling) -> Agreement:
    """Correlations of ``values (R,)`` over all ratings, with a percentile bootstrap interval of tau-c over images.

    Whole images are drawn, with all ratings of them: ratings of one image are no independent ones. The same seed draws
    the same images for all values.
    """
    correlations = agreement(values, judged.ratings)
    surplus, sizes = _surplus_by_image(values, judged)
    levels = min(len(torch.unique(numbers)) for numbers in (values, judged.ratings))
    draw, taus, images = np.random.default_rng(resampling.seed), [], len(sizes)
    at_once = max(1, _DRAWN_AT_ONCE // images)
    for start in range(0, resampling.resamples if levels > 1 else 0, at_once):
        times = draw.multinomial(images, np.full(images, 1 / images), min(at_once, resampling.resamples - start))
        ordered = ((times.astype(np.float32) @ surplus) * times).sum(axis=1)
        taus.append(ordered / (times @ sizes) ** 2 * levels / (levels - 1))
    if not taus:
        return Agreement(correlations, Interval(0.0, 0.0))
    tail = (1 - (resampling.confidence or 0.95)) / 2
    low, high = np.quantile(np.concatenate(taus), [tail, 1 - tail])
    return Agreement(correlations, Interval(float(low), float(high)))


def _surplus_by_image(values: Tensor, judged: Judgements) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Concordant minus discordant pairs of a rating of one image with one of another ``(G, G)``, and ratings of each.

    Tau-c is the sum of the matrix by the sizes, so that each resample is the matrix between how often images are drawn.
    """
    order = judged.images.argsort(stable=True)
    value, rating = values[order].numpy(), judged.ratings[order].numpy()
    _, of_entry, sizes = np.unique(judged.images[order].numpy(), return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    surplus = np.zeros((len(sizes), len(sizes)), dtype=np.float32)
    at_once = max(1, _COMPARED_AT_ONCE // len(value))
    for start in range(0, len(value), at_once):
        rows = slice(start, start + at_once)
        signs = _signs(value[rows], value) * _signs(rating[rows], rating)
        np.add.at(surplus, of_entry[rows], np.add.reduceat(signs, starts, axis=1, dtype=np.float32))
    return surplus, sizes


def _signs(some: NDArray[np.float64], all_of_them: NDArray[np.float64]) -> NDArray[np.int8]:
    return (some[:, None] > all_of_them).astype(np.int8) - (some[:, None] < all_of_them)
