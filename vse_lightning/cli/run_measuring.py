"""The metrics of a run that somebody else ranked, against judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vse_lightning.cli.measuring import Measurement, MeasuringOptions
from vse_lightning.cli.trec import Grades
from vse_lightning.functional.average_precision import average_precision_of_ranks, r_precision_of_ranks
from vse_lightning.functional.ndcg import ndcg_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.ranks import positive_ranks
from vse_lightning.functional.recall import recall_of_ranks

_QUERIES_AT_ONCE = 1024


def measure_run(run: Grades, judgements: Grades, protocol: MeasuringOptions) -> dict[str, Measurement]:
    """Compute recalls, mAP@R, R-Precision and NDCG of a run.

    All judged queries count; those that the run lacks have found nothing. A tie never helps, where trec_eval goes by
    the name of the candidate. Without ties, recall, recall of all, R-Precision and NDCG are trec_eval's ``success``,
    ``recall``, ``Rprec`` and ``ndcg_cut`` (with the option ``-c``).

    Args:
        run: what was retrieved.
        judgements: what is relevant; grades are the gains of NDCG.
        protocol: its cut-offs of recall and NDCG.
    """
    queries = sorted(judgements)
    parts = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        retrieved, judged = [run.get(query, {}) for query in some], [judgements[query] for query in some]
        parts.append(_query_values(retrieved, judged, protocol))
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: Measurement(float(of_metric.double().mean()), {"": of_metric}) for name, of_metric in values.items()}


def _query_values(
    retrieved: Sequence[Mapping[str, float]], judged: Sequence[Mapping[str, float]], protocol: MeasuringOptions
) -> dict[str, Tensor]:
    relevant = [sorted((grade for grade in of_query.values() if grade > 0), reverse=True) for of_query in judged]
    counts = torch.tensor([len(of_query) for of_query in relevant])
    # Wide enough that what was not retrieved ranks behind every cut-off.
    width = max([*map(len, retrieved), *map(len, relevant), *protocol.recall_ks, *protocol.ndcg_ks])
    gains = [[max(known.get(name, 0), 0) for name in found] for found, known in zip(retrieved, judged, strict=True)]
    scores = _padded([list(of_query.values()) for of_query in retrieved], width, -torch.inf)
    grades, ideal = _padded(gains, width, 0), _padded(relevant, width, 0)
    ranks = positive_ranks(scores, grades > 0)
    values = {f"recall_at_{k}": recall_of_ranks(ranks, counts, width, k) for k in protocol.recall_ks}
    values |= {f"recall_of_all_at_{k}": recall_of_ranks(ranks, counts, width, k, "all") for k in protocol.recall_ks}
    values["map_at_r"] = average_precision_of_ranks(ranks, counts)
    values["r_precision"] = r_precision_of_ranks(ranks, counts)
    if protocol.ndcg_ks:
        # NDCG does not depend on the scale of linear gains, but relevance must not exceed 1.
        scale = ideal.amax().clamp(min=1)
        ranking = replace(Ranking.of(scores, grades / scale, listed=max(protocol.ndcg_ks)), ideal=ideal / scale)
        values |= {f"ndcg_at_{k}": ndcg_of_ranking(ranking, k, "linear") for k in protocol.ndcg_ks}
    return values


def _padded(rows: Sequence[Sequence[float]], width: int, filling: float) -> Tensor:
    """``(rows, width)`` float64."""
    table = torch.full((len(rows), width), filling, dtype=torch.float64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return table
