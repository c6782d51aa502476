import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import TripletLoss


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_options_reach_the_function(batch, mining, reduction):
    loss = TripletLoss(margin=0.1, mining=mining, temperature=0.07, epsilon=0.3, reduction=reduction)
    total, count = loss.query_terms(*batch)["triplet"]
    expected, pairs = functional.triplet(batch.scores, batch.positives, 0.1, mining, 0.07, 0.3, reduction == "mean")
    assert torch.equal(total, expected)
    assert torch.equal(count, pairs)


def test_reductions_of_all_negatives_worked_by_hand():
    scores = torch.tensor([[0.5, 0.4, 0.6], [0.1, 0.5, 0.1], [0.1, 0.1, 0.5]])
    # hinges of the rows: 0.1, 0.3 | none | none; of the columns: none | 0.1 | 0.3
    assert TripletLoss(mining="all")(scores).item() == pytest.approx((0.4 + 0.4) / 6 / 2)
    assert TripletLoss(mining="all", reduction="sum")(scores).item() == pytest.approx(0.8)
    assert TripletLoss()(scores).item() == pytest.approx((0.3 + 0.4) / 3 / 2)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"margin must be a finite number of at least 0, got -0.1"):
        TripletLoss(margin=-0.1)
    with pytest.raises(ValueError, match="mining must be one of 'all', 'hardest', 'soft', 'selective', got 'easy'"):
        TripletLoss(mining="easy")
    for temperature in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"temperature must be a finite number above 0, got {temperature}"):
            TripletLoss(temperature=temperature)
    with pytest.raises(ValueError, match="epsilon must be a finite number of at least 0, got -1"):
        TripletLoss(epsilon=-1)
