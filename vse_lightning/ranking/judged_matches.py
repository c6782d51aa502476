"""Where a model ranks matches that are given by id, such as those that people found beyond a caption's own image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.functional.ranks import positive_ranks
from vse_lightning.ranking.pair_scores import PairScores, Similarity

Matches = Mapping[int, Sequence[int]]
"""Ids of the candidates that match each query, in the gallery or not."""


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
    queries: Side, candidates: Side, similarity: Similarity, matches: Matches, cutoff: int, queries_per_block: int
) -> MatchRanks:
    """Rank all candidates for each query that has matches.

    Ranks are those of :func:`~vse_lightning.functional.ranks.positive_ranks`.

    Args:
        queries: those without matches are not asked.
        candidates: what is ranked.
        similarity: maps embeddings of queries and candidates to scores.
        matches: by the id of the query.
        cutoff: ranks up to this, or to the number of matches, are wanted.
        queries_per_block: how many queries are scored at a time.
    """
    device = queries.ids.device
    asked = torch.isin(queries.ids, torch.tensor(list(matches), device=device))
    query_ids = queries.ids[asked]
    known = [matches[query] for query in query_ids.tolist()]
    counts = torch.tensor([len(of_query) for of_query in known], device=device)
    column_of = {candidate: column for column, candidate in enumerate(candidates.ids.tolist())}
    columns = [[column_of[match] for match in of_query if match in column_of] for of_query in known]
    # What ranks within the cut-off has at most that many other candidates, and all matches, at or above its score.
    length = min(max(cutoff, int(counts.max())) + int(counts.max()), len(candidates.ids))
    missing = torch.iinfo(torch.int64).max
    ranks = torch.full((len(query_ids), int(counts.max())), missing, device=device)
    pair_scores = PairScores(similarity, queries.embeds[asked], candidates.embeds, queries_per_block)
    for block in pair_scores.blocks:
        for rows, scores in pair_scores.score(block):
            positives = torch.zeros(scores.shape, dtype=torch.bool, device=device)
            for place, row in enumerate(rows.tolist()):
                positives[place, columns[row]] = True
            best = scores.topk(length)
            found = positive_ranks(best.values, positives.gather(1, best.indices))
            ranks[rows, : found.shape[1]] = found.masked_fill(found > length, missing)
    return MatchRanks(query_ids, ranks, counts)
