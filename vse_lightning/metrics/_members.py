"""Metrics by name, from whatever holds them, and their values by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

from torch import Tensor
from torchmetrics import MetricCollection

from vse_lightning.checks import require, require_name
from vse_lightning.functional.directions import check_direction
from vse_lightning.functional.similarity import Similarity
from vse_lightning.metrics._state_metric import StateMetric
from vse_lightning.metrics._values import Value
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.ranking.reading import EvaluationProtocol, Reading
from vse_lightning.targets import LabelTable

Metrics: TypeAlias = MetricCollection | Mapping[str, StateMetric] | Sequence[StateMetric] | StateMetric
"""What functions that measure take: a collection, metrics by name, a list of them, or one."""


def members_of(metrics: Metrics) -> dict[str, StateMetric]:
    """The metrics by name: that of the collection or mapping, without prefix, else their own.

    Raises:
        TypeError: if one of them is no metric of this package.
        ValueError: if there is none, two have one name, or one does not say what it measures.
    """
    if isinstance(metrics, MetricCollection):
        members: dict[str, Any] = dict(metrics.items(keep_base=True, copy_state=False))
    elif isinstance(metrics, Mapping):
        members = dict(metrics)
    else:
        listed = list(metrics) if isinstance(metrics, Sequence) else [metrics]
        for metric in listed:
            check_member("metrics", metric)
            require_name(f"metrics: {type(metric).__name__}", getattr(metric, "name", None))
        members = {metric.name: metric for metric in listed}
        names = [metric.name for metric in listed]
        require(len(members) == len(names), "metrics must have different names, got {}", ", ".join(names))
    require(len(members) > 0, "metrics must be at least one")
    for name, metric in members.items():
        check_member(f"metrics[{name!r}]", metric)
    return members


def check_member(argument: str, metric: object) -> None:
    """Refuse what is no metric of this package, or does not say what it reads.

    Args:
        argument: that holds the metric, for messages.
        metric: anything.

    Raises:
        TypeError: if it is another metric.
        ValueError: if an attribute is missing or out of its range.
    """
    kind = type(metric)
    if not isinstance(metric, StateMetric):
        raise TypeError(
            f"{argument} must be of vse_lightning.metrics or a subclass of its RetrievalMetric, got "
            f"{kind.__module__}.{kind.__qualname__}: log other metrics with self.log(name, metric) in your own steps"
        )
    if isinstance(metric, RetrievalMetric):
        directions, reading = getattr(metric, "directions", None), getattr(metric, "reading", None)
        tells = isinstance(directions, tuple | list) and len(directions) > 0 and isinstance(reading, Reading)
        rule = (
            "{}: {} must have directions, such as ('i2t',), and a reading, such as Reading(positives=1), got {!r}, {!r}"
        )
        require(tells, rule, argument, kind.__qualname__, directions, reading)
        for direction in metric.directions:
            check_direction(direction)


def joining(
    metric: StateMetric,
    similarity: Similarity | None,
    relevance: LabelTable | None,
    protocol: EvaluationProtocol,
    process_group: Any,
) -> StateMetric:
    """A copy of an extra metric under the options of its collection, where it has none of its own."""
    check_member("extra", metric)
    require_name(f"extra: {type(metric).__name__}", getattr(metric, "name", None))
    joining = deepcopy(metric)
    joining.reset()
    if joining.process_group is None:
        joining.process_group = process_group
    if joining.similarity is None:
        joining.similarity = similarity
    if joining.protocol == EvaluationProtocol():
        joining.protocol = protocol
    if isinstance(joining, RetrievalMetric) and joining.relevance is None:
        joining.relevance = relevance
    return joining


def names_of(members: Mapping[str, StateMetric]) -> dict[str, dict[str, str]]:
    """What the values of each metric are called, by what the metric calls them: "" where it has only one.

    As in a ``MetricCollection``, a metric with several values puts its own name before theirs where names clash.
    """
    counts = Counter(inner or name for name, metric in members.items() for inner in metric.displays)
    clash = max(counts.values()) > 1
    return {
        name: {inner: f"{name}_{inner}" if inner and clash else inner or name for inner in metric.displays}
        for name, metric in members.items()
    }


def flatten(values: Mapping[str, Value], names: Mapping[str, Mapping[str, str]]) -> dict[str, Tensor]:
    """One number for each of the ``names`` that :func:`names_of` gives them."""
    return {
        names[name][inner]: one
        for name, value in values.items()
        for inner, one in ({"": value} if isinstance(value, Tensor) else value).items()
    }
