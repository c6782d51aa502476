"""Values of metrics while candidate lists arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.distributed import Processes
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.ranking.candidate_lists import CandidateLists
from vse_lightning.ranking.reading import RankingReader, Reading


class Group(NamedTuple):
    """Metrics that read the same lists."""

    reading: Reading
    metrics: Mapping[str, RankingReader]

    def values(self, ranking: Ranking) -> dict[str, Tensor]:
        """The values ``(Q,)`` by metric."""
        return {name: values_of(name, metric, ranking) for name, metric in self.metrics.items()}


def groups_of(direction: Direction, metrics: Mapping[str, RankingReader]) -> list[Group]:
    """The metrics of a direction that read the same lists, and what they read together."""
    groups: dict[bool, dict[str, RankingReader]] = {}
    for name, metric in metrics.items():
        if direction in metric.directions:
            groups.setdefault(metric.reading.exclude_positives, {})[name] = metric
    return [Group(reduce(or_, (metric.reading for metric in of.values())), of) for of in groups.values()]


def values_of(name: str, metric: RankingReader, ranking: Ranking) -> Tensor:
    """The values ``(Q, ...)`` of the queries of a ranking, NaN where a query does not count.

    Raises:
        ValueError: if the metric returns something else than a number for each query.
    """
    counted = metric.reading.counted(ranking)
    everyone = bool(counted.all())
    if not counted.any():
        return torch.full(counted.shape, torch.nan, device=counted.device)
    values = metric.query_values(ranking if everyone else ranking.select(counted))
    message = "{}: query_values must return a number for each of {} queries, got {}"
    expected, shape = int(counted.sum()), tuple(values.shape)
    require(shape[:1] == (expected,), message, name, expected, shape)
    require(not (values.is_floating_point() and values.isnan().any()), message, name, expected, "NaN")
    if everyone:
        return values
    padded = torch.full((len(counted), *shape[1:]), torch.nan, dtype=torch.float64, device=values.device)
    padded[counted] = values.double()
    return padded


class CollectedValues:
    """The values of all queries that come with their whole lists.

    Args:
        groups: metrics of a direction.
        queries: ``(Q,)`` rows that are queries; default: all.
        processes: that each add lists of some of them.
    """

    def __init__(
        self, groups: Sequence[Group], queries: Tensor | None = None, processes: Processes | None = None
    ) -> None:
        self._groups, self._queries, self._processes = groups, queries, processes or Processes()
        self._rows: list[Tensor] = []
        self._values: dict[str, list[Tensor]] = {name: [] for group in groups for name in group.metrics}

    def add(self, lists: CandidateLists) -> None:
        """Add lists of some rows."""
        if self._queries is not None and self._groups:
            is_query = torch.isin(lists.queries, self._queries, assume_unique=True)
            lists = lists if is_query.all() else lists.select(is_query)
        self._rows.append(lists.queries)
        for group in self._groups:
            for name, values in group.values(lists.ranking(group.reading)).items():
                self._values[name].append(values)

    def values(self) -> dict[str, Tensor]:
        """The values of all processes by metric, in the order of the rows."""
        order = torch.cat(self._processes.gather(torch.cat(self._rows))).argsort()
        return {name: self._joined(values)[order] for name, values in self._values.items()}

    def _joined(self, values: list[Tensor]) -> Tensor:
        joined = torch.cat(values)
        if self._processes.count == 1:
            return joined
        everywhere = torch.cat(self._processes.gather(joined.double()))  # all must send one type
        return everywhere.to(joined.dtype) if joined.is_floating_point() else everywhere
