import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import SmoothNDCGLoss


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_options_reach_the_function(batch, gain):
    total, count = SmoothNDCGLoss(0.2, gain).query_terms(*batch)["smooth_ndcg"]
    expected, queries = functional.smooth_ndcg(batch.scores, batch.relevance.masked_fill(batch.positives, 1), 0.2, gain)
    assert torch.equal(total, expected)
    assert torch.equal(count, queries)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        SmoothNDCGLoss(temperature=0)
    with pytest.raises(ValueError, match="gain must be one of 'exponential', 'linear', got 'log'"):
        SmoothNDCGLoss(gain="log")
