import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import LadderLoss, TripletLoss


@pytest.mark.parametrize("mode", ["absolute", "percentile"])
@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_options_reach_the_function(batch, mode, cumulative, mining, reduction):
    thresholds = (0.7, 0.3) if mode == "absolute" else (70, 30)
    options = (0.2, 0.1, 0.05), thresholds, (0.5, 0.3), mode, cumulative, mining
    total, count = LadderLoss(*options, reduction).query_terms(*batch)["ladder"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    expected, pairs = functional.ladder(batch.scores, relevance, batch.positives, *options, reduction == "mean")
    assert torch.equal(total, expected)
    assert torch.equal(count, pairs)


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_without_thresholds_it_is_the_triplet_loss(batch, mining, reduction):
    ladder = LadderLoss((0.2,), (), (), mining=mining, reduction=reduction)
    assert torch.equal(ladder(*batch), TripletLoss(mining=mining, reduction=reduction)(*batch))


def test_without_weight_it_is_the_triplet_loss(batch):
    assert torch.equal(LadderLoss(weights=(0.0,))(*batch), TripletLoss()(*batch))


def test_lists_from_yaml_are_accepted():
    assert LadderLoss([0.2, 0.01], [0.63], [0.25]).thresholds == (0.63,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margins": (), "thresholds": (), "weights": ()}, r"margins must name at least the margin of the first rung"),
        ({"thresholds": (0.6, 0.4)}, r"thresholds must have one entry fewer than margins \(0.2, 0.01\), got \(0.6, "),
        ({"weights": ()}, r"weights must have one entry fewer than margins \(0.2, 0.01\), got \(\)"),
        ({"margins": (0.2, -1)}, r"every entry of margins must be a finite number of at least 0, got -1"),
        ({"weights": (float("nan"),)}, r"every entry of weights must be a finite number of at least 0, got nan"),
        ({"threshold_mode": "kmeans"}, r"threshold_mode must be one of 'absolute', 'percentile', got 'kmeans'"),
        ({"mining": "easy"}, "mining must be one of 'all', 'hardest', 'soft', 'selective', got 'easy'"),
        ({"thresholds": (63,)}, r"thresholds must lie in \[0, 1\] in absolute mode, got \(63,\)"),
        ({"thresholds": (float("nan"),)}, r"thresholds must lie in \[0, 1\] in absolute mode, got \(nan,\)"),
        (
            {"thresholds": (101,), "threshold_mode": "percentile"},
            r"thresholds must lie in \[0, 100\] in percentile mode, got \(101,\)",
        ),
        (
            {"margins": (0.2, 0.1, 0.1), "thresholds": (0.4, 0.63), "weights": (1, 1)},
            r"thresholds must be strictly decreasing, got \(0.4, 0.63\)",
        ),
        (
            {"margins": (0.2, 0.1, 0.1), "thresholds": (0.4, 0.4), "weights": (1, 1)},
            r"thresholds must be strictly decreasing, got \(0.4, 0.4\)",
        ),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        LadderLoss(**options)
