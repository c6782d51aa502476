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


def groups_of(direction: Direction, metrics: Mapping[str, RankingReader]) -> list[Group]:
    """The metrics of a direction that read the same lists, and what they read together."""
    groups: dict[bool, dict[str, RankingReader]] = {}
    for name, metric in metrics.items():
        if direction in metric.directions:
            groups.setdefault(metric.reading.exclude_positives, {})[name] = metric
    return [Group(reduce(or_, (metric.reading for metric in of.values())), of) for of in groups.values()]


def values_of(group: Group, ranking: Ranking) -> dict[str, Tensor]:
    """The values ``(Q, ...)`` of the queries of a ranking by metric, NaN where a query does not count.

    Raises:
        ValueError: if a metric returns something else than a number for each query.
    """
    values = {}
    for name, metric in group.metrics.items():
        counted = metric.reading.counted(ranking)
        values[name] = torch.full(counted.shape, torch.nan, dtype=torch.float64, device=counted.device)
        expected = int(counted.sum())
        if expected == 0:
            continue
        found = metric.query_values(ranking if expected == len(counted) else ranking.select(counted))
        message, shape = "{}: query_values must return a number for each of {} queries, got {}", tuple(found.shape)
        require(shape[:1] == (expected,), message, name, expected, shape)
        require(not (found.is_floating_point() and found.isnan().any()), message, name, expected, "NaN")
        if expected == len(counted):
            values[name] = found
        else:
            values[name] = values[name].view(-1, *[1] * (found.ndim - 1)).repeat(1, *shape[1:])
            values[name][counted] = found.double()
    return values


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
            for part in lists.parts() if group.reading.whole else (lists,):
                for name, values in values_of(group, part.ranking(group.reading)).items():
                    self._values[name].append(values)

    def values(self) -> dict[str, Tensor]:
        """The values of all processes by metric, in the order of the rows."""
        rows = torch.cat(self._rows)
        values = {name: torch.cat(of_blocks) for name, of_blocks in self._values.items()}
        if self._processes.count > 1:
            rows = torch.cat(self._processes.gather(rows))
            values = {name: self._gathered(mine) for name, mine in values.items()}
        order = rows.argsort()
        return {name: everyones[order] for name, everyones in values.items()}

    def _gathered(self, mine: Tensor) -> Tensor:
        everyones = torch.cat(self._processes.gather(mine.double()))  # all must send one type
        return everyones.to(mine.dtype) if mine.is_floating_point() else everyones
