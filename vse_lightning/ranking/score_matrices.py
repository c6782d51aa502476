"""Lists from given matrices instead of embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vse_lightning.functional._ranks import columns_of
from vse_lightning.functional.directions import Direction
from vse_lightning.ranking.candidate_lists import CandidateLists
from vse_lightning.ranking.reading import PAIRS_AT_ONCE
from vse_lightning.ranking.relevance_blocks import within_range


def lists_of_matrices(
    direction: Direction, scores: Tensor, relevance: Tensor | None, positives: Tensor, *, positives_count_1: bool = True
) -> Iterator[CandidateLists]:
    """The rows of matrices (``i2t``) or their columns (``t2i``), a block of queries at a time.

    Args:
        direction: across the modalities.
        scores: ``(N, M)`` without NaN.
        relevance: ``(N, M)`` in [0, 1]; needed where a reading is graded.
        positives: ``(N, M)`` bool.
        positives_count_1: whether that is their relevance, whatever the matrix says.

    Raises:
        ValueError: if the direction is within one kind, or the relevance leaves its range.
    """
    if direction not in ("i2t", "t2i"):
        raise ValueError(f"direction {direction!r} needs embeddings: scores of images and texts do not tell")
    if direction == "t2i":
        scores, positives = scores.T, positives.T
        relevance = None if relevance is None else relevance.T
    size = max(1, PAIRS_AT_ONCE // scores.shape[1])
    for start in range(0, len(scores), size):
        rows = slice(start, start + size)
        lists, matches, labels = scores[rows].contiguous(), positives[rows].contiguous(), None
        if relevance is not None:
            labels = within_range(relevance[rows].contiguous(), "the matrix").to(lists.dtype)
            labels = labels.masked_fill_(matches, 1) if positives_count_1 else labels
        queries = torch.arange(start, start + len(lists), device=lists.device)
        yield CandidateLists(queries, lists, labels, columns_of(matches))
