"""Whether there is the relevance that a graded metric needs, and what to do where there is not."""

from __future__ import annotations

from collections.abc import Mapping

from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.functional.directions import ACROSS
from vse_lightning.ranking.gallery import Gallery, some_ids
from vse_lightning.ranking.reading import RankingReader
from vse_lightning.targets import LabelTable

NO_LABELS = (
    "give update text_features (sentence embeddings), or the metric relevance=<a RelevanceTable> "
    "(vse_lightning.relevance) and update text_ids"
)


class MissingRelevanceError(ValueError):
    """A graded metric has no labels to compute from.

    Attributes:
        remedy: what to do.
    """

    remedy: str = ""


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
        return NO_LABELS
    lonely = gallery.lonely_images()
    by_texts = {"i2i"} if has_table else {*ACROSS, "i2i"}
    if len(lonely) and by_texts & set(metric.directions):
        table = "" if has_table else ", or the metric a relevance=<a RelevanceTable> that knows them"
        return f"images without a text have no labels, such as those of ids {some_ids(lonely)}: give them texts{table}"
    return ""


def refuse(name: str, remedy: str) -> None:
    """Raise unless there is nothing to remedy.

    Raises:
        MissingRelevanceError: naming the metric and the remedy.
    """
    if remedy:
        error = MissingRelevanceError(f"{name} needs graded relevance: {remedy}")
        error.remedy = remedy
        raise error


def warn_left_out(remedies: Mapping[str, str]) -> None:
    """Say which metrics are not computed, and what to do."""
    rank_zero_warn(
        f"{', '.join(remedies)} left out: they need graded relevance: {next(iter(remedies.values()))}; or construct "
        "the metrics with ndcg_ks=() and coherent_ks=()."
    )
