import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import KendallLoss


@pytest.mark.parametrize(("window", "stride"), [(None, 1), (2, 1), (3, 2)])
def test_options_reach_the_function(batch, window, stride):
    total, count = KendallLoss(0.1, window, stride).query_terms(*batch)["kendall"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    expected, pairs = functional.kendall(batch.scores, relevance, 0.1, window, stride)
    assert torch.equal(total, expected)
    assert torch.equal(count, pairs)


def test_the_mean_is_over_the_pairs_of_each_direction():
    scores = torch.tensor([[0.5, 0.7], [0.1, 0.5]])
    relevance = torch.tensor([[1.0, 0.0], [0.9, 1.0]])
    # image queries: one pair, (0, 1) by 0.2; text queries: one pair, of the second text, by 0.2
    assert KendallLoss()(scores, relevance).item() == pytest.approx((0.2 + 0.2) / 2)
    assert KendallLoss(reduction="sum")(scores, relevance).item() == pytest.approx(0.4)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"min_gap must be a finite number of at least 0, got -0.3"):
        KendallLoss(min_gap=-0.3)
    for window in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"window must be a whole number.*, got {window}"):
            KendallLoss(window=window)
    with pytest.raises(ValueError, match="stride must be a whole number of at least 1, got 0"):
        KendallLoss(stride=0)
