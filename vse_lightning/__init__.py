"""PyTorch Lightning plug-in for relevance-aware image-text retrieval.

Losses and metrics that know more than "match / no match", for any LightningModule: see :mod:`vse_lightning.losses`,
:mod:`vse_lightning.metrics` and :mod:`vse_lightning.mixins`; labels come from :mod:`vse_lightning.relevance`, pictures
and captions from :mod:`vse_lightning.data`, reference models from :mod:`vse_lightning.models`.
"""

from vse_lightning.losses import (
    ContrastiveLoss,
    HierarchicalAPLoss,
    KendallLoss,
    LadderLoss,
    LSEHLoss,
    RankedContrastiveLoss,
    RelevanceMarginLoss,
    RetrievalLoss,
    SigmoidLoss,
    SmoothNDCGLoss,
    SymmetricMultiSimilarityLoss,
    TripletLoss,
    WeightedSumLoss,
)
from vse_lightning.metrics import (
    PMRP,
    CoherentScore,
    CumulativeSemantic,
    ECCVCaption,
    HierarchicalAP,
    MAPAtR,
    MeanAveragePrecision,
    MeanRank,
    MedianRank,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RPrecision,
    RSum,
    evaluate_embeddings,
    evaluate_scores,
)
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin
from vse_lightning.targets import RetrievalTargets

__version__ = "0.1.0"

__all__ = [
    "PMRP",
    "CoherentScore",
    "ContrastiveLoss",
    "CumulativeSemantic",
    "ECCVCaption",
    "HierarchicalAP",
    "HierarchicalAPLoss",
    "KendallLoss",
    "LSEHLoss",
    "LadderLoss",
    "MAPAtR",
    "MeanAveragePrecision",
    "MeanRank",
    "MedianRank",
    "RPrecision",
    "RSum",
    "RankedContrastiveLoss",
    "RecallAtK",
    "RelevanceLossMixin",
    "RelevanceMarginLoss",
    "RetrievalLoss",
    "RetrievalMetrics",
    "RetrievalMetricsMixin",
    "RetrievalNDCG",
    "RetrievalTargets",
    "SigmoidLoss",
    "SmoothNDCGLoss",
    "SymmetricMultiSimilarityLoss",
    "TripletLoss",
    "WeightedSumLoss",
    "evaluate_embeddings",
    "evaluate_scores",
]
