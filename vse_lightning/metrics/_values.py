"""What metrics make of the values of single queries, and what cannot be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn, Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.functional.similarity import Similarity
from vse_lightning.ranking.gallery import Gallery, State, some_ids
from vse_lightning.ranking.query_values import QueryValues, query_values
from vse_lightning.ranking.reading import RankingReader
from vse_lightning.targets import LabelTable

Value: TypeAlias = Tensor | dict[str, Tensor]
"""What a metric computes: one number, or several by name."""

_NO_QUERY = {
    "i2t": "an image with a text",
    "t2i": "a text with an image",
    "i2i": "two images, one of them with a text",
    "t2t": "an image with two texts, as no other text matches (graded metrics: two texts, one of them with an image)",
}

_NO_LABELS = (
    "give update text_features (sentence embeddings), or the metric relevance=<a RelevanceTable> "
    "(vse_lightning.relevance) and update text_ids"
)


class MissingRelevanceError(ValueError):
    """A graded metric has no labels to compute from.

    Attributes:
        remedy: what to do.
    """

    remedy: str = ""


class Member(Protocol):
    """A metric of a collection."""

    needs_all: ClassVar[bool]


class Ranked(Member, RankingReader, Protocol):
    """A metric that ranks a gallery and makes one number of it."""

    def summarise(self, values: Mapping[Direction, Tensor]) -> Tensor:
        """One number from the values ``(Q,)`` of each direction."""


class Judged(Member, Protocol):
    """A metric that knows the ids of a benchmark and makes several numbers of a gallery."""

    def evaluate(self, gallery: Gallery, similarity: Similarity | None = None) -> dict[str, Tensor]:
        """The values of a gallery by name."""


def evaluate_members(
    metrics: Mapping[str, Member],
    gallery: Gallery,
    *,
    relevance: LabelTable | None = None,
    similarity: Similarity | None = None,
    processes: Processes | None = None,
    partial: bool = False,
) -> tuple[dict[str, Value], dict[str, str]]:
    """The values of all metrics that can be computed, and the remedies for graded ones without labels.

    Args:
        metrics: by name.
        gallery: what to rank.
        relevance: labels for the metrics that have none of their own.
        similarity: for the metrics that have none of their own.
        processes: that call this with the same arguments and share the work.
        partial: whether more was to be seen: metrics that need it all are left out too, and so are those without a
            query; the others take the gallery for one fold.

    Raises:
        ValueError: if a metric has no query.
    """
    ranked = {name: cast("Ranked", metric) for name, metric in metrics.items() if not metric.needs_all}
    graded = {name: metric for name, metric in ranked.items() if metric.reading.graded}
    remedies = {name: why_not_graded(metric, gallery, relevance) for name, metric in graded.items()}
    possible = {name: metric for name, metric in ranked.items() if not remedies.get(name)}
    of_queries = query_values(
        gallery, possible, relevance=relevance, similarity=similarity, processes=processes, as_one_fold=partial
    )
    values: dict[str, Value] = {}
    for name, metric in metrics.items():
        if metric.needs_all and not partial:
            values[name] = cast("Judged", metric).evaluate(gallery, similarity)
        elif name in possible and (not partial or has_queries(of_queries[name])):
            values[name] = summary(possible[name], of_queries[name]).to(gallery.image_embeds.dtype)
    return values, {name: remedy for name, remedy in remedies.items() if remedy}


def summary(metric: Ranked, folds: Sequence[QueryValues], needed: Mapping[str, str] = _NO_QUERY) -> Tensor:
    """One number from the values of a metric's queries: the mean over the folds.

    Args:
        metric: whose values they are.
        folds: the values of each fold.
        needed: what makes a query, by direction, for messages.

    Raises:
        ValueError: if a fold has no query in one of the directions.
    """
    counted = _counted(metric, folds, needed)
    return torch.stack([metric.summarise(fold) for fold in counted]).mean()


def values_per_query(state: State, metric: RankingReader, processes: Processes) -> QueryValues:
    """The values of a metric's queries, fold after fold, by ascending id.

    Raises:
        MissingRelevanceError: if the metric is graded and there are no labels.
        ValueError: if there is no query.
    """
    gallery = Gallery.from_state(state)
    if remedy := why_not_graded(metric, gallery):
        refuse(type(metric).__name__, remedy)
    (folds,) = query_values(gallery, {"": metric}, processes=processes).values()
    counted = _counted(metric, folds, _NO_QUERY)
    return {direction: torch.cat([fold[direction] for fold in counted]) for direction in metric.directions}


def _counted(metric: RankingReader, folds: Sequence[QueryValues], needed: Mapping[str, str]) -> list[QueryValues]:
    """The values of the queries that count, some in every fold and direction."""
    counted = [{direction: values[_counts(values)] for direction, values in fold.items()} for fold in folds]
    for direction in (direction for fold in counted for direction, values in fold.items() if len(values) == 0):
        name = getattr(metric, "name", type(metric).__name__)
        besides = ", and a candidate besides its matches" if metric.reading.exclude_positives else ""
        relevant = ", and something relevant to it" if metric.reading.relevant_from is not None else ""
        needs = f"{needed[direction]}{besides}{relevant}"
        raise ValueError(f"{name} has no query in the gallery or one of its folds: it needs {needs}")
    return counted


def has_queries(folds: Sequence[QueryValues]) -> bool:
    """Whether some queries count in every fold and direction."""
    return all(bool(_counts(values).any()) for fold in folds for values in fold.values())


def _counts(values: Tensor) -> Tensor:
    """Which queries ``(Q,)`` count."""
    return ~(values if values.ndim == 1 else values.flatten(1).sum(dim=1)).isnan()


def why_not_graded(metric: RankingReader, gallery: Gallery, relevance: LabelTable | None = None) -> str:
    """What to do so that a ``metric`` can be computed; empty if it can.

    Args:
        metric: graded or not.
        gallery: with ``text_features`` or not.
        relevance: labels for a metric that has none of its own.
    """
    if not metric.reading.graded:
        return ""
    has_table = relevance is not None or metric.relevance is not None
    if not has_table and gallery.text_features is None:
        return _NO_LABELS
    lonely = gallery.lonely_images()
    by_texts = {"i2i"} if has_table else {*ACROSS, "i2i"}
    if len(lonely) and by_texts & set(metric.directions):
        table = "" if has_table else ", or the metric a relevance=<a RelevanceTable> that knows them"
        return f"images without a text have no labels, such as those of ids {some_ids(lonely)}: give them texts{table}"
    return ""


def refuse(name: str, remedy: str) -> NoReturn:
    """Raise a :class:`MissingRelevanceError` that names the metric and the remedy."""
    error = MissingRelevanceError(f"{name} needs graded relevance: {remedy}")
    error.remedy = remedy
    raise error


def warn_left_out(remedies: Mapping[str, str]) -> None:
    """Say which metrics are not computed, and what to do."""
    rank_zero_warn(
        f"{', '.join(remedies)} left out: they need graded relevance: {next(iter(remedies.values()))}; or construct "
        "the metrics with ndcg_ks=() and coherent_ks=()."
    )
