"""Candidates so relevant that they count as positives (RANP)."""

from torch import Tensor

from vse_lightning.checks import require


def check_threshold(positive_threshold: float | None) -> None:
    """Refuse a threshold that is no relevance, or that everything reaches."""
    possible = positive_threshold is None or 0 < positive_threshold <= 1
    require(possible, "positive_threshold must be None or lie in (0, 1], got {}", positive_threshold)


def with_near_positives(positives: Tensor, relevance: Tensor, positive_threshold: float | None) -> Tensor:
    """Positives ``(Q, C)``, and with a threshold every candidate whose relevance reaches it."""
    return positives if positive_threshold is None else positives | (relevance >= positive_threshold)
