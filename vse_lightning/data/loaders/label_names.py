"""Which labels a data module takes, and under which names; and those of its further sources."""

import re
from collections.abc import Mapping
from typing import Literal

from vse_lightning.checks import require, require_name
from vse_lightning.relevance import RelevanceSource

LabelSource = RelevanceSource | Literal["source"]

WORDS_OF_METRICS = (
    *("i2t", "t2i", "i2i", "t2t", "at", "recall", "rsum", "rank", "precision", "map", "ndcg", "coherent", "score"),
    *("step", "epoch"),  # which Lightning adds to names
)


def check_label_names(labels: Mapping[str, LabelSource]) -> None:
    """Raise a ``ValueError`` unless they have names that can stand behind those of metrics and be told apart there."""
    for name in labels:
        _check_words("eval_relevance", name)
        longer = [other for other in labels if other.endswith(f"_{name}")]
        require(not longer, "eval_relevance must have no name that ends in another, got {!r} and {!r}", name, *longer)


def check_source_names(sources: Mapping[str, object]) -> None:
    """The same of further sources, whose names stand before those of metrics."""
    for name in sources:
        _check_words("eval_sources", name)
        require(name != "interpolated", "eval_sources must not be named as weights are, got {!r}", name)
        longer = [other for other in sources if other.startswith(f"{name}_")]
        require(not longer, "eval_sources must have no name that begins with another, got {!r} and {!r}", name, *longer)


def _check_words(argument: str, name: str) -> None:
    require_name(argument, name)
    words = [word for word in re.split("[_-]", name.lower()) if word in WORDS_OF_METRICS]
    rule = "{} must have names without words of metrics ({}), got {!r}"
    require(not words, rule, argument, ", ".join(words), name)
