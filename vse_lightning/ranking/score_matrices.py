"""Ranking from given matrices instead of embeddings."""

from __future__ import annotations

from torch import Tensor

from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import count_ahead_of_positives
from vse_lightning.ranking.reading import PAIRS_AT_ONCE, Reading
from vse_lightning.ranking.relevance_rows import within_range


def rank_matrices(
    direction: Direction, reading: Reading, scores: Tensor, relevance: Tensor | None, positives: Tensor
) -> Ranking:
    """Rank the rows of matrices (``i2t``) or their columns (``t2i``), a block of queries at a time.

    Args:
        direction: across the modalities.
        reading: what to read.
        scores: ``(N, M)`` without NaN.
        relevance: ``(N, M)`` in [0, 1]; needed where the reading is graded.
        positives: ``(N, M)`` bool.

    Raises:
        ValueError: if the direction is within one kind, or the relevance leaves its range.
    """
    if direction not in ("i2t", "t2i"):
        raise ValueError(f"direction {direction!r} needs embeddings: scores of images and texts do not tell")
    if direction == "t2i":
        scores, positives = scores.T, positives.T
        relevance = None if relevance is None else relevance.T
    rankings = []
    size = max(1, PAIRS_AT_ONCE // scores.shape[1])
    for start in range(0, len(scores), size):
        rows = slice(start, start + size)
        lists, matches, labels = scores[rows].contiguous(), positives[rows].contiguous(), None
        if reading.graded and relevance is not None:
            labels = within_range(relevance[rows].contiguous(), "the matrix").to(lists.dtype).masked_fill_(matches, 1)
        ranking = Ranking.of(lists, labels, listed=reading.listed, ideal=reading.ideal)
        if reading.positives:
            ranking = ranking.with_positives(*count_ahead_of_positives(lists, matches, reading.positives))
        rankings.append(ranking)
    return Ranking.concatenate(rankings)
