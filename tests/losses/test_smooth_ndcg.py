import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import SmoothNDCGLoss


@pytest.mark.parametrize("surrogate", ["sigmoid", "bound"])
@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_options_reach_the_function(batch, gain, surrogate):
    total, count = SmoothNDCGLoss(0.2, gain, surrogate).query_terms(*batch)["smooth_ndcg"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    expected, queries = functional.smooth_ndcg(batch.scores, relevance, 0.2, gain, surrogate)
    assert torch.equal(total, expected)
    assert torch.equal(count, queries)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        SmoothNDCGLoss(temperature=0)
    with pytest.raises(ValueError, match="gain must be one of 'exponential', 'linear', got 'log'"):
        SmoothNDCGLoss(gain="log")
    with pytest.raises(ValueError, match="surrogate must be one of 'sigmoid', 'bound', got 'step'"):
        SmoothNDCGLoss(surrogate="step")
