from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

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

MakeLoss = Callable[..., RetrievalLoss]


def _listwise(**options: Any) -> RetrievalLoss:
    losses = {"triplet": TripletLoss(**options), "ndcg": SmoothNDCGLoss(0.1, **options)}
    return WeightedSumLoss(losses, {"triplet": 0.7, "ndcg": 0.3})


EVERY_LOSS: dict[str, MakeLoss] = {
    "triplet-hardest": lambda **options: TripletLoss(**options),
    "triplet-all": lambda **options: TripletLoss(mining="all", **options),
    "triplet-soft": lambda **options: TripletLoss(mining="soft", temperature=0.05, **options),
    "triplet-selective": lambda **options: TripletLoss(mining="selective", epsilon=0.1, **options),
    "ladder": lambda **options: LadderLoss((0.2, 0.1, 0.05), (0.7, 0.4), (0.5, 0.25), **options),
    "ladder-cumulative": lambda **options: LadderLoss(cumulative=True, **options),
    "ladder-percentile": lambda **options: LadderLoss(thresholds=(70,), threshold_mode="percentile", **options),
    "lseh": lambda **options: LSEHLoss(**options),
    "smooth-ndcg": lambda **options: SmoothNDCGLoss(0.1, **options),
    "smooth-ndcg-bound": lambda **options: SmoothNDCGLoss(0.1, surrogate="bound", **options),
    "hierarchical-ap": lambda **options: HierarchicalAPLoss(0.1, **options),
    "kendall": lambda **options: KendallLoss(**options),
    "kendall-window": lambda **options: KendallLoss(window=2, **options),
    "contrastive": lambda **options: ContrastiveLoss(**options),
    "contrastive-relevance": lambda **options: ContrastiveLoss(relevance_weight=0.3, **options),
    "weighted-sum": _listwise,
    "triplet-near": lambda **options: TripletLoss(positive_threshold=0.7, **options),
    "relevance-margin": lambda **options: RelevanceMarginLoss(**options),
    "sms": lambda **options: SymmetricMultiSimilarityLoss(min_gap=0.3, **options),
    "contrastive-near": lambda **options: ContrastiveLoss(positive_threshold=0.7, **options),
    "x-clr": lambda **options: ContrastiveLoss(relevance_weight=1.0, **options),
    "rince-in": lambda **options: RankedContrastiveLoss((0.7, 0.4), (0.05, 0.1, 0.2), **options),
    "rince-out": lambda **options: RankedContrastiveLoss(variant="out", **options),
    "siglip": lambda **options: SigmoidLoss(**options),
    "siglip-relevance": lambda **options: SigmoidLoss(relevance_weight=0.3, **options),
}


@pytest.fixture(params=EVERY_LOSS.values(), ids=EVERY_LOSS.keys())
def make_loss(request: pytest.FixtureRequest) -> MakeLoss:
    """Maker of every loss in its variants; takes ``reduction`` and ``directions``."""
    return request.param


class Batch(NamedTuple):
    scores: Tensor
    relevance: Tensor
    positives: Tensor


@pytest.fixture
def batch() -> Batch:
    """Seven images, nine texts, float64: images with no, one, several captions; no two scores tie."""
    generator = torch.Generator().manual_seed(1)
    scores = 0.3 * torch.randn(7, 9, dtype=torch.float64, generator=generator)
    relevance = torch.rand(7, 9, dtype=torch.float64, generator=generator)
    images_of_texts = torch.tensor([0, 0, 0, 2, 3, 3, 4, 5, 6])
    return Batch(scores, relevance, torch.arange(7)[:, None] == images_of_texts)
