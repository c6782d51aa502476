"""Image-text retrieval metrics: thin :class:`torchmetrics.Metric` shells over one streaming engine."""

from vse_lightning.metrics.average_precision import MAPAtR, RPrecision
from vse_lightning.metrics.coherent_score import CoherentScore
from vse_lightning.metrics.evaluation import MissingRelevanceError, evaluate, evaluate_scores
from vse_lightning.metrics.ndcg import RetrievalNDCG
from vse_lightning.metrics.rank_statistics import MeanRank, MedianRank
from vse_lightning.metrics.recall import RecallAtK, RSum
from vse_lightning.metrics.retrieval_metric import RetrievalMetric
from vse_lightning.metrics.retrieval_metrics import RetrievalMetrics

__all__ = [
    "CoherentScore",
    "MAPAtR",
    "MeanRank",
    "MedianRank",
    "MissingRelevanceError",
    "RPrecision",
    "RSum",
    "RecallAtK",
    "RetrievalMetric",
    "RetrievalMetrics",
    "RetrievalNDCG",
    "evaluate",
    "evaluate_scores",
]
