"""One pass for several metrics of the same state, also when each is asked for its value by itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.metrics._values import Member, Value, evaluate_members, refuse
from vse_lightning.ranking.gallery import Gallery, State

Fingerprint = tuple[bool, int, tuple[Tensor, ...]]


class SharedPass:
    """Computes all its metrics at once and remembers the values for as long as the state is the same.

    Lightning asks every metric of a collection by itself. Copying the metrics together copies their pass with them.
    """

    def __init__(self, metrics: Sequence[Member]) -> None:
        self._metrics = list(metrics)
        self._fingerprint: Fingerprint | None = None
        self._values: dict[str, Value] = {}
        self._remedies: dict[str, str] = {}

    def knows(self, fingerprint: Fingerprint) -> bool:
        """Whether the values of a state are remembered."""
        known = self._fingerprint
        return (
            known is not None
            and known[:2] == fingerprint[:2]
            and len(known[2]) == len(fingerprint[2])
            and all(mine is theirs for mine, theirs in zip(known[2], fingerprint[2], strict=True))
        )

    def value(self, metric: Member, fingerprint: Fingerprint, state: State, processes: Processes) -> Value:
        """The value of one of the metrics, from memory if the state with this ``fingerprint`` is known."""
        if not self.knows(fingerprint):
            metrics = {str(place): member for place, member in enumerate(self._metrics)}
            self._values, self._remedies = evaluate_members(metrics, Gallery.from_state(state), processes=processes)
            self._fingerprint = fingerprint
        place = str(next(place for place, member in enumerate(self._metrics) if member is metric))
        if place in self._remedies:
            refuse(type(metric).__name__, self._remedies[place])
        return self._values[place]

    def forget(self) -> None:
        """Drop the values."""
        self._fingerprint, self._values, self._remedies = None, {}, {}
