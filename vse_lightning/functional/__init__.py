"""The mathematics: pure functions on query-major tensors, one file per idea, without state or I/O.

A loss takes one row of candidates per query and returns ``(total (Q,), count (Q,))``: the sum of the query's terms and
how many there are. A ranking function returns one value per query. The other direction is the same function on the
transposes.
"""

from vse_lightning.functional import (
    _contrastive,
    _hierarchical_ap,
    _kendall,
    _ladder,
    _multi_similarity,
    _ranked_contrastive,
    _semantic_margin,
    _sigmoid,
    _smooth_ndcg,
    _triplet,
)
from vse_lightning.functional._agreement import agreement
from vse_lightning.functional._average_precision import average_precision, average_precision_at_r, r_precision
from vse_lightning.functional._hierarchical_average_precision import hierarchical_average_precision
from vse_lightning.functional._kendall_tau import coherent_score, kendall_tau
from vse_lightning.functional._ranks import ranks
from vse_lightning.functional.ndcg import cumulative_semantic, ndcg_at_k
from vse_lightning.functional.query_lists import of_lists
from vse_lightning.functional.recall import recall_at_k
from vse_lightning.functional.significance import bootstrap_interval, paired_randomization_test
from vse_lightning.functional.similarity import caption_relevance, cosine_similarity

# checked where they are asked for by name; the losses have checked their lists already
contrastive = of_lists(_contrastive.contrastive)
hierarchical_ap = of_lists(_hierarchical_ap.hierarchical_ap)
kendall = of_lists(_kendall.kendall)
ladder = of_lists(_ladder.ladder)
multi_similarity = of_lists(_multi_similarity.multi_similarity)
ranked_contrastive = of_lists(_ranked_contrastive.ranked_contrastive)
semantic_margin = of_lists(_semantic_margin.semantic_margin)
sigmoid = of_lists(_sigmoid.sigmoid)
smooth_ndcg = of_lists(_smooth_ndcg.smooth_ndcg)
triplet = of_lists(_triplet.triplet)

__all__ = [
    "agreement",
    "average_precision",
    "average_precision_at_r",
    "bootstrap_interval",
    "caption_relevance",
    "coherent_score",
    "contrastive",
    "cosine_similarity",
    "cumulative_semantic",
    "hierarchical_ap",
    "hierarchical_average_precision",
    "kendall",
    "kendall_tau",
    "ladder",
    "multi_similarity",
    "ndcg_at_k",
    "paired_randomization_test",
    "r_precision",
    "ranked_contrastive",
    "ranks",
    "recall_at_k",
    "semantic_margin",
    "sigmoid",
    "smooth_ndcg",
    "triplet",
]
