"""The mathematics: pure functions on query-major tensors, one file per idea, without state or I/O.

A loss takes one row of candidates per query and returns ``(total (Q,), count (Q,))``: the sum of the query's terms and
how many there are. A ranking function returns one value per query. The other direction is the same function on the
transposes.
"""

from vse_lightning.functional.agreement import agreement
from vse_lightning.functional.average_precision import average_precision, average_precision_at_r, r_precision
from vse_lightning.functional.coherent_score import coherent_score
from vse_lightning.functional.contrastive import contrastive
from vse_lightning.functional.cumulative_semantic import cumulative_semantic
from vse_lightning.functional.hierarchical_ap import hierarchical_ap
from vse_lightning.functional.hierarchical_average_precision import hierarchical_average_precision
from vse_lightning.functional.kendall import kendall
from vse_lightning.functional.kendall_tau import kendall_tau
from vse_lightning.functional.ladder import ladder
from vse_lightning.functional.multi_similarity import multi_similarity
from vse_lightning.functional.ndcg import ndcg_at_k
from vse_lightning.functional.ranked_contrastive import ranked_contrastive
from vse_lightning.functional.ranks import ranks
from vse_lightning.functional.recall import recall_at_k
from vse_lightning.functional.semantic_margin import semantic_margin
from vse_lightning.functional.sigmoid import sigmoid
from vse_lightning.functional.significance import bootstrap_interval, paired_randomization_test
from vse_lightning.functional.similarity import caption_relevance, cosine_similarity
from vse_lightning.functional.smooth_ndcg import smooth_ndcg
from vse_lightning.functional.triplet import triplet

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
