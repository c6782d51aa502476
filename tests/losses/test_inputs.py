"""What people hand to a loss: taken as it is, or refused with one message that names it."""

import pytest
import torch

from vse_lightning.losses import ContrastiveLoss, KendallLoss, LadderLoss, RetrievalLoss, SmoothNDCGLoss, TripletLoss
from vse_lightning.losses._lists import check_relevance

SCORES, POSITIVES = torch.rand(2, 3), torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SCORES[0],), r"KendallLoss: scores must be a matrix \(queries, candidates\), got shape \(3,\)"),
        ((SCORES.tolist(),), r"KendallLoss: scores must be a tensor, got list"),
        ((SCORES[:, :0],), r"KendallLoss: scores must have candidates, got shape \(2, 0\)"),
        ((SCORES.long(),), r"KendallLoss: scores must be floating point, got torch.int64"),
        ((SCORES,), r"KendallLoss: positives are needed when scores are not square, got shape \(2, 3\)$"),
        ((SCORES, SCORES, POSITIVES.T), r"positives must have the shape of scores \(2, 3\), got \(3, 2\)"),
        ((SCORES, SCORES, POSITIVES.float()), r"KendallLoss: positives must be bool, got torch.float32"),
        ((SCORES, SCORES, POSITIVES.long()), r"KendallLoss: positives must be bool, got torch.int64"),
        ((SCORES, SCORES, POSITIVES.tolist()), r"KendallLoss: positives must be a tensor, got list"),
        ((SCORES, SCORES.T, POSITIVES), r"relevance must have the shape of scores \(2, 3\), got \(3, 2\)"),
        ((SCORES, SCORES.numpy(), POSITIVES), r"KendallLoss: relevance must be a tensor, got ndarray"),
        (
            (SCORES, POSITIVES),
            r"relevance must be numbers in \[0, 1\], got torch.bool: matches are the argument positives",
        ),
        ((SCORES, SCORES.to("meta"), POSITIVES), r"relevance must be on cpu as scores, got meta"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        KendallLoss()(*arguments)
    with pytest.raises(ValueError, match=message):
        KendallLoss().query_terms(*arguments)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 5.0, float("nan"), float("inf"), -float("inf")])
def test_relevance_out_of_range_is_no_different_loss(make_loss, batch, wrong):
    relevance = batch.relevance.clone()
    relevance[3, 2] = wrong
    message = r"Loss: relevance must be finite and lie in \[0, 1\], got values from .* to "
    for call in (make_loss(), make_loss().query_terms):
        with pytest.raises(ValueError, match=message):
            call(batch.scores, relevance, batch.positives)


def test_rounding_is_clamped(make_loss, batch):
    loss, relevance = make_loss(), batch.relevance.clone()
    relevance[0, 8], relevance[3, 2] = 0, 1
    exact = loss(batch.scores, relevance, batch.positives)
    relevance[0, 8], relevance[3, 2] = -5e-5, 1 + 5e-5
    assert torch.equal(loss(batch.scores, relevance, batch.positives), exact)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_relevance_of_any_number_type(make_loss, batch, dtype):
    scores, relevance = batch.scores.float(), batch.relevance.round()
    found = make_loss()(scores, relevance.to(dtype), batch.positives)
    assert found.dtype == torch.float32
    assert torch.equal(found, make_loss()(scores, relevance.float(), batch.positives))


def test_no_gradient_reaches_labels(make_loss, batch):
    relevance = batch.relevance.clone().requires_grad_()
    scores = batch.scores.clone().requires_grad_()
    make_loss()(scores, relevance, batch.positives).backward()
    assert relevance.grad is None
    assert scores.grad is not None


def test_an_empty_relevance_has_no_range():
    check_relevance(torch.zeros(0, 4))
    check_relevance(torch.tensor([[0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"^relevance must be finite and lie in \[0, 1\], got values from nan to nan$"):
        check_relevance(torch.tensor([0.5, float("nan")]))


@pytest.mark.parametrize("loss", [TripletLoss(), ContrastiveLoss(), LadderLoss(), SmoothNDCGLoss()])
@pytest.mark.parametrize(("images", "texts"), [(6, 6), (6, 7), (8, 8)])
def test_two_matrices_of_embeddings_are_noticed(loss, images, texts):
    generator = torch.Generator().manual_seed(0)
    image_embeds, text_embeds = (torch.randn(rows, 8, generator=generator) for rows in (images, texts))
    with pytest.raises(ValueError, match=r"embeddings go to from_embeddings\(image_embeds, text_embeds\)"):
        loss(image_embeds, text_embeds)


class MeanGap(RetrievalLoss):
    """A loss of somebody else that says nothing of itself."""

    def per_query(self, scores, relevance, positives):
        return scores.sum(1), positives.sum(1)


def test_a_loss_without_a_name_takes_none_of_the_host():
    assert list(MeanGap().query_terms(SCORES, None, POSITIVES)) == ["relevance"]
