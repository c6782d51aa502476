"""Losses: thin modules over :mod:`vse_lightning.functional`, called as ``loss(scores, relevance, positives)``."""

from vse_lightning.losses.contrastive import ContrastiveLoss
from vse_lightning.losses.hierarchical_ap import HierarchicalAPLoss
from vse_lightning.losses.kendall import KendallLoss
from vse_lightning.losses.ladder import LadderLoss
from vse_lightning.losses.multi_similarity import SymmetricMultiSimilarityLoss
from vse_lightning.losses.ranked_contrastive import RankedContrastiveLoss
from vse_lightning.losses.retrieval_loss import RetrievalLoss
from vse_lightning.losses.semantic_margin import LSEHLoss, RelevanceMarginLoss
from vse_lightning.losses.sigmoid import SigmoidLoss
from vse_lightning.losses.smooth_ndcg import SmoothNDCGLoss
from vse_lightning.losses.triplet import TripletLoss
from vse_lightning.losses.weighted_sum import WeightedSumLoss

__all__ = [
    "ContrastiveLoss",
    "HierarchicalAPLoss",
    "KendallLoss",
    "LSEHLoss",
    "LadderLoss",
    "RankedContrastiveLoss",
    "RelevanceMarginLoss",
    "RetrievalLoss",
    "SigmoidLoss",
    "SmoothNDCGLoss",
    "SymmetricMultiSimilarityLoss",
    "TripletLoss",
    "WeightedSumLoss",
]
