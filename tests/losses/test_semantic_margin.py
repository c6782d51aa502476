import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import LSEHLoss, TripletLoss


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_options_reach_the_function(batch, mining, reduction):
    loss = LSEHLoss(margin=0.1, semantic_weight=0.2, mining=mining, reduction=reduction)
    total, _ = loss.query_terms(*batch)["semantic_margin"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    average = reduction == "mean"
    expected, _ = functional.semantic_margin(batch.scores, relevance, batch.positives, 0.1, 0.2, mining, average)
    assert torch.equal(total, expected)


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_without_semantic_weight_it_is_the_triplet_loss(batch, mining, reduction):
    semantic = LSEHLoss(margin=0.2, semantic_weight=0, mining=mining, reduction=reduction)
    torch.testing.assert_close(semantic(*batch), TripletLoss(mining=mining, reduction=reduction)(*batch))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"margin must be a finite number of at least 0, got -0.1"):
        LSEHLoss(margin=-0.1)
    with pytest.raises(ValueError, match="semantic_weight must be a finite number of at least 0, got nan"):
        LSEHLoss(semantic_weight=float("nan"))
    with pytest.raises(ValueError, match="mining must be one of 'all', 'hardest', 'soft', 'selective', got 'easy'"):
        LSEHLoss(mining="easy")
