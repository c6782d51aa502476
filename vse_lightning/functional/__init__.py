"""The mathematics: pure functions on query-major tensors, one file per idea, without state or I/O.

A loss takes one row of candidates per query and returns ``(total (Q,), count (Q,))``: the sum of the query's terms and
how many there are. A ranking function returns one value per query. The other direction is the same function on the
transposes.
"""

from vse_lightning.functional._agreement import agreement
from vse_lightning.functional._average_precision import average_precision, average_precision_at_r, r_precision
from vse_lightning.functional._coherent_score import coherent_score
from vse_lightning.functional._contrastive import contrastive
from vse_lightning.functional._cumulative_semantic import cumulative_semantic
from vse_lightning.functional._hierarchical_ap import hierarchical_ap
from vse_lightning.functional._hierarchical_average_precision import hierarchical_average_precision
from vse_lightning.functional._kendall import kendall
from vse_lightning.functional._kendall_tau import kendall_tau
from vse_lightning.functional._ladder import ladder
from vse_lightning.functional._multi_similarity import multi_similarity
from vse_lightning.functional._ranked_contrastive import ranked_contrastive
from vse_lightning.functional._ranks import ranks
from vse_lightning.functional._semantic_margin import semantic_margin
from vse_lightning.functional._sigmoid import sigmoid
from vse_lightning.functional._smooth_ndcg import smooth_ndcg
from vse_lightning.functional._triplet import triplet
from vse_lightning.functional.ndcg import ndcg_at_k
from vse_lightning.functional.recall import recall_at_k
from vse_lightning.functional.significance import bootstrap_interval, paired_randomization_test
from vse_lightning.functional.similarity import caption_relevance, cosine_similarity

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
