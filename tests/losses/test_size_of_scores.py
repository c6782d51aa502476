"""Scores of any size: a finite loss where it fits the precision, and one error where it does not."""

import pytest
import torch

from vse_lightning import losses

LOSSES = [
    losses.ContrastiveLoss,
    losses.HierarchicalAPLoss,
    losses.KendallLoss,
    losses.LSEHLoss,
    losses.LadderLoss,
    losses.RankedContrastiveLoss,
    losses.RelevanceMarginLoss,
    losses.SigmoidLoss,
    losses.SmoothNDCGLoss,
    losses.SymmetricMultiSimilarityLoss,
    losses.TripletLoss,
]
RELEVANCE = torch.rand(6, 6, generator=torch.Generator().manual_seed(1))


def scores_of(size):
    return torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) * size


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("loss", LOSSES)
def test_large_scores_have_the_loss_of_double_precision(loss, size):
    scores = scores_of(size).requires_grad_()
    value = loss()(scores, RELEVANCE)
    value.backward()
    assert scores.grad.isfinite().all()
    expected = loss().double()(scores_of(size).double(), RELEVANCE.double())
    torch.testing.assert_close(value, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", [losses.ContrastiveLoss, losses.TripletLoss, losses.SigmoidLoss])
def test_a_loss_beyond_the_precision_is_one_error(loss):
    with pytest.raises(ValueError, match=r"the loss does not fit torch\.float32: scores are of size up to 2\.\de\+38"):
        loss()(scores_of(1e38), RELEVANCE)


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_is_said_to_be_that_of_the_scores(loss):
    scores = scores_of(1.0)
    scores[0, 1] = torch.nan
    with pytest.raises(ValueError, match="scores must be finite, and the loss is nan: they hold NaN or infinity"):
        loss()(scores, RELEVANCE)
    embeds = torch.full((3, 2), torch.nan)
    if not loss.needs_relevance:
        with pytest.raises(ValueError, match="embeddings must be finite, and the loss is nan"):
            loss().from_embeddings(embeds, torch.ones(3, 2))
