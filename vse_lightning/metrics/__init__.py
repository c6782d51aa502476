"""Image-text retrieval metrics: thin :class:`torchmetrics.Metric` shells over ``vse_lightning.ranking``.

A query is an image that ranks all texts (``i2t``) or a text that ranks all images (``t2i``). Its positives are the
texts of the image, or the image of the text; any number of texts per image. ``i2i`` and ``t2t`` rank all other images
or texts. Texts of the same image match; a text without such another is no query of metrics that count matches. No image
matches another: ``i2i`` is graded, by the most relevant text of the other image.

- Rank: 1 + the number of candidates that are no positives and score at least as high as the best positive. A tie never
  helps, so a model that scores everything alike ranks last.
- Recall at k (``RecallAtK``, ``RSum``): the share of queries whose rank is at most k. ``recall="all"`` is another
  measure: the mean share of a query's positives that rank within k.
- MAP@R, R-Precision: over the R best candidates of a query with R positives; ties as above.
- mAP, hierarchical AP: over the whole list; candidates with equal scores are retrieved together, as in scikit-learn.
- NDCG, NCS at k: candidates with equal scores share the mean of their gains, as in scikit-learn; positives have
  relevance 1. NCS leaves the query's own positives out, and so do NDCG, Coherent Score and hierarchical AP with
  ``exclude_positives=True``.
- Coherent Score at k: Kendall's tau-b of score and relevance over the k best candidates; of those that tie across the
  cut the first by id are taken; a constant list counts 0.
- Median rank: that of numpy, the mean of the two middle ranks of an even number of queries.

A gallery is every image and every text once: images are told apart by id, and so are texts if they have ids. A text of
image id -1 and an image without a text are candidates, but no queries, in folds and first captions too. ``folds``
averages over equal consecutive parts by ascending image id (COCO 1K), ``captions_per_image=1`` keeps the first captions
only (the Ladder Loss paper), in the gallery and in the relevance.
"""

from vse_lightning.metrics._values import MissingRelevanceError
from vse_lightning.metrics.average_precision import MAPAtR, MeanAveragePrecision, RPrecision
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.metrics.coherent_score import CoherentScore
from vse_lightning.metrics.collection import RetrievalMetrics
from vse_lightning.metrics.cumulative_semantic import CumulativeSemantic
from vse_lightning.metrics.eccv_caption import ECCVCaption
from vse_lightning.metrics.hierarchical_ap import HierarchicalAP
from vse_lightning.metrics.ndcg import RetrievalNDCG
from vse_lightning.metrics.pmrp import PMRP
from vse_lightning.metrics.rank_statistics import MeanRank, MedianRank
from vse_lightning.metrics.recall import RecallAtK, RSum
from vse_lightning.metrics.without_trainer import evaluate_embeddings, evaluate_scores
from vse_lightning.ranking.reading import ALL, Reading

__all__ = [
    "ALL",
    "PMRP",
    "CoherentScore",
    "CumulativeSemantic",
    "ECCVCaption",
    "HierarchicalAP",
    "MAPAtR",
    "MeanAveragePrecision",
    "MeanRank",
    "MedianRank",
    "MissingRelevanceError",
    "RPrecision",
    "RSum",
    "Reading",
    "RecallAtK",
    "RetrievalMetric",
    "RetrievalMetrics",
    "RetrievalNDCG",
    "evaluate_embeddings",
    "evaluate_scores",
]
