"""Ranking all that is indexed for each query, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.functional.top_k import top_k
from vse_lightning.mixins.batch.step import uses_cosine
from vse_lightning.models.retriever import Retriever
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic

_ROWS_AT_A_TIME = 16_384

Score = Callable[[Tensor, Tensor], Tensor]
"""Maps queries ``(Q, D)`` and candidates ``(B, D)`` to scores ``(Q, B)``, higher is closer."""


class Hit(NamedTuple):
    """A candidate that was found."""

    row: int
    score: float


def rank(score: Score, queries: Tensor, candidates: Tensor, count: int) -> list[list[Hit]]:
    """The best candidates of each query, the best first, ties in the order of the candidates.

    Every candidate is scored, so many at a time; candidates may be mapped from disk. For a command that reads its
    candidates once this takes less time than to build an index of faiss and search it, however exact.

    Args:
        score: of queries and candidates.
        queries: ``(Q, D)``, on the device that computes.
        candidates: ``(C, D)``.
        count: how many to list; more than C means all.

    Raises:
        ValueError: a score is NaN.
    """
    scores, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    rows = rows.to(queries.device)
    for start in range(0, len(candidates), _ROWS_AT_A_TIME):
        some = candidates[start : start + _ROWS_AT_A_TIME].to(queries.device)
        with exact_arithmetic(queries.device):
            found = score(queries, some).to(scores.dtype)
        require(not bool(found.isnan().any()), "similarity must give numbers, got NaN")
        places = torch.arange(start, start + len(some), device=rows.device).expand(len(queries), -1)
        # What is listed already comes first, so that ties stay in order.
        scores, rows = torch.cat([scores, found], dim=1), torch.cat([rows, places], dim=1)
        best = top_k(scores, count).indices
        scores, rows = scores.gather(1, best), rows.gather(1, best)
    return [
        [Hit(*hit) for hit in zip(*lists, strict=True)] for lists in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def scoring(model: Retriever, *, by_text: bool, find_images: bool) -> Score:
    """How queries are compared with candidates.

    The model's own similarity compares pictures with texts; two pictures, or two texts, are compared by the cosine
    where that is the model's similarity too.

    Raises:
        ValueError: the model's similarity is another, and cannot compare like with like.
    """
    if by_text and find_images:
        return lambda queries, candidates: model.retrieval_similarity(candidates, queries).T
    if not by_text and not find_images:
        return lambda queries, candidates: model.retrieval_similarity(queries, candidates)
    what = "a text with captions" if by_text else "a picture with images"
    other = "images" if by_text else "captions"
    message = "--find must be {}: {} has a similarity of its own, of pictures with texts, so it cannot compare {}"
    require(uses_cosine(model), message, other, type(model).__name__, what)
    return cosine_similarity
