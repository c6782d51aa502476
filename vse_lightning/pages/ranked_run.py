"""The results of one run, kept in a file for the page of another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from vse_lightning.functional.directions import Direction
from vse_lightning.pages.ranked_queries import RankedQueries

_DIRECTIONS: tuple[Direction, ...] = ("i2t", "t2i")


@dataclass(frozen=True)
class RankedRun:
    """What one run retrieved and how it was measured.

    Attributes:
        name: of the run, as its log folder is called.
        stage: ``"val"`` or ``"test"``.
        label: of the relevance in ``directions``.
        metrics: logged values by name, without the stage.
        metric_labels: label source by suffix of those names, as ``retrieval_labels`` of the module.
        top_k: cut-off of NDCG.
        depth: cut-off of tau.
        directions: the queries.
    """

    name: str
    stage: str
    label: str
    metrics: dict[str, float]
    metric_labels: dict[str, str]
    top_k: int
    depth: int
    directions: dict[Direction, RankedQueries]

    def save(self, path: Path) -> None:
        """Write all into one ``.npz`` file."""
        described = {name: value for name, value in vars(self).items() if name != "directions"}
        columns: dict[str, Any] = {
            f"{direction}_{name}": column.numpy()
            for direction, ranked in self.directions.items()
            for name, column in vars(ranked).items()
        }
        np.savez_compressed(path, run=np.array(json.dumps(described)), **columns)

    @classmethod
    def load(cls, path: Path) -> RankedRun:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is none that :meth:`save` wrote.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}")
        try:
            with np.load(path, allow_pickle=False) as file:
                directions = {
                    direction: RankedQueries(
                        **{
                            name: torch.from_numpy(file[f"{direction}_{name}"])
                            for name in RankedQueries.__dataclass_fields__
                        }
                    )
                    for direction in _DIRECTIONS
                }
                return cls(**json.loads(str(file["run"])), directions=directions)
        except (BadZipFile, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is no results file of a retrieval gallery: {error}") from error

    def ranks_the_same_queries_as(self, other: RankedRun) -> bool:
        """Whether both runs have the same queries in the same rows."""
        return all(
            torch.equal(ranked.query_ids, other.directions[direction].query_ids)
            for direction, ranked in self.directions.items()
        )
