"""Where a model ranks matches that are given by id, such as those that people found beyond a caption's own image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vse_lightning.functional._ranks import count_ahead, ranks_from_counts
from vse_lightning.functional.similarity import Similarity
from vse_lightning.ranking.pair_scores import PairScores

Matches = Mapping[int, Sequence[int]]
"""Ids of the candidates that match each query, in the gallery or not."""


_NOWHERE = torch.iinfo(torch.int64).max - 1  # beyond every cut-off


class Side(NamedTuple):
    """The images or the texts of a gallery."""

    ids: Tensor  # (C,) int64, ascending
    embeds: Tensor  # (C, D)


class MatchRanks(NamedTuple):
    """Where the matches of each query rank."""

    query_ids: Tensor  # (Q,) int64, ascending
    ranks: Tensor  # (Q, P) int64, best first; beyond every cut-off where a query has fewer, or they are not there
    counts: Tensor  # (Q,) int64, how many matches there are


def rank_matches(
    queries: Side, candidates: Side, similarity: Similarity, matches: Matches, queries_per_block: int
) -> MatchRanks:
    """Rank all candidates for each query that has matches.

    Ranks are those of :func:`~vse_lightning.functional.ranks.positive_ranks`.

    Args:
        queries: those without matches are not asked.
        candidates: what is ranked.
        similarity: maps embeddings of queries and candidates to scores.
        matches: by the id of the query.
        queries_per_block: how many queries are scored at a time.
    """
    device = queries.ids.device
    asked = torch.isin(queries.ids, torch.tensor(list(matches), device=device))
    query_ids = queries.ids[asked]
    known = [matches[query] for query in query_ids.tolist()]
    column_of = {candidate: column for column, candidate in enumerate(candidates.ids.tolist())}
    there = [torch.tensor([column_of[each] for each in of if each in column_of], dtype=torch.int64) for of in known]
    columns = pad_sequence(there, batch_first=True, padding_value=-1).to(device)
    num_there, ranks = (columns >= 0).sum(dim=1), torch.empty_like(columns)
    pair_scores = PairScores(similarity, queries.embeds[asked], candidates.embeds, queries_per_block)
    for block in pair_scores.blocks:
        for rows, scores in pair_scores.score(block):
            ahead, _ = count_ahead(scores, columns[rows])
            ranks[rows] = ranks_from_counts(ahead, num_there[rows], _NOWHERE)
    return MatchRanks(query_ids, ranks, torch.tensor([len(of) for of in known], device=device))
