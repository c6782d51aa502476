"""What the queries of a run retrieved, which of them are worth a look, and the file that keeps it for other pages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vse_lightning.array_files import DAMAGES
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.whole_files import whole_file


class ShownCandidate(NamedTuple):
    """What stands at a rank."""

    item_id: int
    score: float
    relevance: float
    positive: bool


@dataclass(frozen=True)
class RankedQueries:
    """The best candidates of the ``Q`` queries of one direction, and how good they are."""

    query_ids: Tensor  # (Q,) int64, ids of images or of texts, ascending
    query_image_ids: Tensor  # (Q,) int64, the image that a query is, or describes
    candidate_ids: Tensor  # (Q, K) int64, the best-scored first
    scores: Tensor  # (Q, K)
    relevance: Tensor  # (Q, K) in [0, 1]
    positives: Tensor  # (Q, K) bool
    best_ranks: Tensor  # (Q,) int64, from 1, of each query's best positive
    ndcg: Tensor  # (Q,) NDCG of the K candidates
    tau: Tensor  # (Q,) Kendall's tau-b between scores and relevance of the first R candidates
    curve: Tensor  # (R,) mean relevance at each rank
    ideal: Tensor  # (R,) the same of a perfect ranking

    def candidates(self, row: int) -> list[ShownCandidate]:
        """What a query retrieved."""
        columns = self.candidate_ids, self.scores, self.relevance, self.positives
        return [ShownCandidate(*values) for values in zip(*(column[row].tolist() for column in columns), strict=True)]

    def select(self, count: int, seed: int) -> dict[str, list[int]]:
        """Rows of sampled queries, the best and the worst, ``count`` each; within a group, no two are about one image.

        The best find a positive first and have the highest NDCG; the worst find their best positive last.
        """
        sample = torch.randperm(len(self.query_ids), generator=torch.Generator().manual_seed(seed))
        by_ndcg = self.ndcg.argsort(descending=True, stable=True)
        best_first = by_ndcg[self.best_ranks[by_ndcg].argsort(stable=True)]
        orders = {"sampled": sample, "best": best_first, "worst": best_first.flip(0)}
        return {name: self._of_distinct_images(order, count) for name, order in orders.items()}

    def _of_distinct_images(self, order: Tensor, count: int) -> list[int]:
        chosen: dict[int, int] = {}
        for row, image_id in zip(order.tolist(), self.query_image_ids[order].tolist(), strict=True):
            chosen.setdefault(image_id, row)
            if len(chosen) == count:
                break
        return list(chosen.values())


@dataclass(frozen=True)
class RankedRun:
    """What one run retrieved and how it was measured."""

    name: str  # as its log folder is called
    stage: str  # "val" or "test"
    label: str  # of the relevance in ``directions``
    metrics: dict[str, float]  # logged values by name, without the stage
    table: dict[str, dict[str, str]]  # the metrics as vse_lightning.report.shown_table makes it
    top_k: int  # cut-off of NDCG
    depth: int  # cut-off of tau
    directions: dict[Direction, RankedQueries]

    def save(self, path: Path) -> None:
        """Write all into one ``.npz`` file."""
        described = {name: value for name, value in vars(self).items() if name != "directions"}
        columns: dict[str, Any] = {
            f"{direction}_{name}": column.numpy()
            for direction, ranked in self.directions.items()
            for name, column in vars(ranked).items()
        }
        with whole_file(path) as written:
            np.savez_compressed(written, run=np.array(json.dumps(described)), **columns)

    @classmethod
    def load(cls, path: Path) -> RankedRun:
        """Read what :meth:`save` wrote."""
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}")
        names = RankedQueries.__dataclass_fields__
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                directions: dict[Direction, RankedQueries] = {
                    direction: RankedQueries(**{name: torch.from_numpy(file[f"{direction}_{name}"]) for name in names})
                    for direction in ACROSS
                }
                return cls(**json.loads(str(file["run"])), directions=directions)
        except (AttributeError, TypeError, *DAMAGES) as error:
            raise ValueError(f"{str(path)!r} is no results file of a retrieval gallery: {error}") from error

    def ranks_the_same_queries_as(self, other: RankedRun) -> bool:
        """Whether both runs have the same queries in the same rows."""
        return all(
            torch.equal(ranked.query_ids, other.directions[direction].query_ids)
            for direction, ranked in self.directions.items()
        )
