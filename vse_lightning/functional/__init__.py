"""The mathematics: pure functions on query-major tensors, one file per idea, without state or I/O.

A loss takes one row of candidates per query and returns ``(total (Q,), count (Q,))``: the sum of the query's terms and
how many there are. The other direction is the same function on the transposes.
"""

from vse_lightning.functional.contrastive import contrastive
from vse_lightning.functional.kendall import kendall
from vse_lightning.functional.ladder import ladder
from vse_lightning.functional.semantic_margin import semantic_margin
from vse_lightning.functional.similarity import caption_relevance, cosine_similarity
from vse_lightning.functional.smooth_ndcg import smooth_ndcg
from vse_lightning.functional.triplet import triplet

__all__ = [
    "caption_relevance",
    "contrastive",
    "cosine_similarity",
    "kendall",
    "ladder",
    "semantic_margin",
    "smooth_ndcg",
    "triplet",
]
