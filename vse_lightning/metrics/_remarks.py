"""What a collection tells its user once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.metrics._state_metric import StateMetric
from vse_lightning.metrics._values import warn_left_out


class Remarks:
    """Warnings about values that are not there, or not what they would be of all data, each given once."""

    def __init__(self) -> None:
        self._made: set[str] = set()

    def on_labels(self, remedies: Mapping[str, str]) -> None:
        """Which graded metrics have no labels, and the ``remedies``."""
        if remedies and "labels" not in self._made:
            self._made.add("labels")
            warn_left_out(remedies)

    def on_part(self, asked: Mapping[str, StateMetric], computed: Collection[str]) -> None:
        """What a part of the data set cannot tell."""
        folds = max(metric.protocol.folds for metric in asked.values())
        left_out = [name for name in asked if name not in computed]
        if (folds > 1 or left_out) and "part" not in self._made:
            self._made.add("part")
            as_one = f"; it is measured as one instead of {folds} folds" if folds > 1 else ""
            without = f"; left out: {', '.join(left_out)}" if left_out else ""
            rank_zero_warn(f"metrics of a part of the data set cannot be compared with those of all{as_one}{without}.")
