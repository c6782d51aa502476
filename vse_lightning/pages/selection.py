"""Which queries of an evaluation are worth a look."""

from __future__ import annotations

import torch
from torch import Tensor

from vse_lightning.pages.ranked_queries import RankedQueries


def select_queries(ranked: RankedQueries, count: int, seed: int) -> dict[str, list[int]]:
    """Rows of sampled queries, the best and the worst; within a group, no two are about one image.

    The best find a positive first and have the highest NDCG; the worst find their best positive last.

    Args:
        ranked: the queries.
        count: how many of each; fewer where there are fewer images.
        seed: of the sample.
    """
    sample = torch.randperm(len(ranked.query_ids), generator=torch.Generator().manual_seed(seed))
    by_ndcg = ranked.ndcg.argsort(descending=True, stable=True)
    best_first = by_ndcg[ranked.best_ranks[by_ndcg].argsort(stable=True)]
    orders = {"sampled": sample, "best": best_first, "worst": best_first.flip(0)}
    return {name: _of_distinct_images(order, ranked.query_image_ids, count) for name, order in orders.items()}


def _of_distinct_images(order: Tensor, image_ids: Tensor, count: int) -> list[int]:
    chosen: dict[int, int] = {}
    for row, image_id in zip(order.tolist(), image_ids[order].tolist(), strict=True):
        chosen.setdefault(image_id, row)
        if len(chosen) == count:
            break
    return list(chosen.values())
