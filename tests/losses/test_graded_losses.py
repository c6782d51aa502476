"""Losses of the wider family: their options, and where one turns into another."""

import pytest
import torch

from vse_lightning import RetrievalTargets, functional
from vse_lightning.losses import (
    ContrastiveLoss,
    LSEHLoss,
    RankedContrastiveLoss,
    RelevanceMarginLoss,
    SigmoidLoss,
    SymmetricMultiSimilarityLoss,
    TripletLoss,
)


def lists_of(batch):
    return batch.scores, batch.relevance.masked_fill(batch.positives, 1), batch.positives


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_options_of_the_relevance_margin(batch, mining, reduction):
    loss = RelevanceMarginLoss(0.3, mining, reduction)
    total, count = loss.query_terms(*batch)["relevance_margin"]
    average = reduction == "mean"
    expected, pairs = functional.semantic_margin(*lists_of(batch), 0.3, -0.3, mining, average)
    assert torch.equal(total, expected)
    assert torch.equal(count, pairs)
    unrelated = torch.zeros_like(batch.relevance)
    found = loss(batch.scores, unrelated, batch.positives)
    torch.testing.assert_close(found, TripletLoss(0.3, mining, reduction=reduction)(*batch))


def test_related_negatives_are_pushed_less_or_more(batch):
    assert RelevanceMarginLoss(0.2)(*batch) < TripletLoss(0.2)(*batch) < LSEHLoss(0.2, 0.2)(*batch)


def test_options_of_sms(batch):
    total, count = SymmetricMultiSimilarityLoss(0.5, 0.2, 0.3).query_terms(*batch)["multi_similarity"]
    expected, pairs = functional.multi_similarity(*lists_of(batch), 0.5, 0.2, 0.3)
    assert torch.equal(total, expected)
    assert torch.equal(count, pairs)
    margin = RelevanceMarginLoss(0.5, "all")
    torch.testing.assert_close(SymmetricMultiSimilarityLoss(0.5, min_gap=0.0)(*batch), margin(*batch))


@pytest.mark.parametrize("variant", ["in", "out"])
def test_options_of_rince(batch, variant):
    loss = RankedContrastiveLoss([0.8, 0.4], [0.1, 0.2, 0.4], variant)
    total, count = loss.query_terms(*batch)["ranked_contrastive"]
    expected, queries = functional.ranked_contrastive(*lists_of(batch), (0.8, 0.4), (0.1, 0.2, 0.4), variant)
    assert torch.equal(total, expected)
    assert torch.equal(count, queries)


def test_rince_without_thresholds_is_info_nce_of_pairs():
    scores = torch.randn(5, 5)
    found = RankedContrastiveLoss((), (0.07,))(scores, torch.rand(5, 5))
    torch.testing.assert_close(found, ContrastiveLoss(temperature=0.07)(scores))


def test_options_of_siglip(batch):
    loss = SigmoidLoss(0.2, -3.0, relevance_weight=0.4).double()
    total, _ = loss.query_terms(*batch)["sigmoid"]
    scores, relevance, positives = lists_of(batch)
    expected, _ = functional.sigmoid(scores, positives, relevance, 5.0, -3.0, 0.4)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    binary = batch.positives.double()
    graded, plain = SigmoidLoss(relevance_weight=1.0), SigmoidLoss()
    torch.testing.assert_close(graded(scores, binary, positives), plain(scores, None, positives))
    assert graded.needs_relevance
    assert not plain.needs_relevance


def test_of_pairs_it_is_the_loss_of_siglip():
    """Summed over the pairs of a batch, divided by its size."""
    scores = torch.randn(6, 6)
    signs = 2 * torch.eye(6) - 1
    expected = -torch.nn.functional.logsigmoid(signs * (10 * scores - 10)).sum() / 6
    torch.testing.assert_close(SigmoidLoss()(scores), expected)


def test_siglip_learns_its_scale_and_bias():
    loss = SigmoidLoss(learnable=True)
    loss(torch.rand(4, 4)).backward()
    assert loss.log_scale.grad is not None
    assert loss.bias.grad is not None
    with torch.no_grad():
        loss.log_scale += 10
    loss.clamp_()
    assert loss.log_scale.exp().item() == pytest.approx(100)
    assert list(SigmoidLoss().state_dict()) == ["log_scale", "bias"]
    assert not any(parameter.requires_grad for parameter in SigmoidLoss(learnable=False).parameters())


@pytest.mark.parametrize("make_loss", [TripletLoss, ContrastiveLoss])
def test_near_positives_count_as_positives(batch, make_loss):
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    found = make_loss(positive_threshold=0.6)(*batch)
    torch.testing.assert_close(found, make_loss()(batch.scores, None, relevance >= 0.6))
    assert make_loss(positive_threshold=0.6).needs_relevance
    assert not make_loss().needs_relevance
    torch.testing.assert_close(make_loss(positive_threshold=1.0)(*batch), make_loss()(batch.scores, None, batch[2]))
    for threshold in (0, 1.1, -0.5, float("nan")):
        with pytest.raises(ValueError, match=rf"positive_threshold must be None or lie in \(0, 1\], got {threshold}"):
            make_loss(positive_threshold=threshold)


def test_a_query_without_positives_learns_from_its_relevance(batch):
    loss = ContrastiveLoss(temperature=0.1, relevance_weight=0.3, relevance_temperature=0.5).double()
    total, count = loss.query_terms(*batch)["contrastive"]
    assert not batch.positives[1].any()
    target = torch.softmax(batch.relevance[1] / 0.5, 0)
    expected = -(target * torch.log_softmax(10 * batch.scores[1], 0)).sum()
    torch.testing.assert_close(total[1], expected, rtol=1e-6, atol=0)
    assert count.tolist() == [1] * 7
    _, without = ContrastiveLoss().query_terms(*batch)["contrastive"]
    assert without[1] == 0


def test_x_clr_asks_for_the_similarities_of_the_labels(batch):
    loss = ContrastiveLoss(temperature=0.1, relevance_weight=1.0, relevance_temperature=0.1).double()
    relevance = batch.relevance.masked_fill(batch.positives, 1).requires_grad_()
    perfect = loss(relevance.detach(), batch.relevance, batch.positives)
    worse = loss(relevance.detach() + 0.1 * torch.randn_like(relevance), batch.relevance, batch.positives)
    assert perfect < worse


def test_cusa_within_a_modality():
    """Texts should be as near each other as their features are, and images as their captions."""
    images, texts = torch.randn(4, 6), torch.randn(4, 6)
    features = torch.nn.functional.normalize(torch.randn(4, 5), dim=1)
    targets = RetrievalTargets(range(4), range(4), text_features=features)
    loss = ContrastiveLoss(temperature=0.1, relevance_weight=1.0, directions=("i2i", "t2t"))
    others = ~torch.eye(4, dtype=torch.bool)
    labels = (features @ features.T).clamp(0, 1)[others].view(4, 3)
    expected = 0
    for embeds in (images, texts):
        unit = torch.nn.functional.normalize(embeds, dim=1)
        scores = (unit @ unit.T)[others].view(4, 3)
        cross_entropy = -(torch.softmax(labels / 0.1, 1) * torch.log_softmax(scores / 0.1, 1)).sum(1)
        expected = expected + cross_entropy.mean() / 2
    torch.testing.assert_close(loss.from_embeddings(images, texts, targets), expected)


@pytest.mark.parametrize(
    ("make_loss", "message"),
    [
        (lambda: RelevanceMarginLoss(-1), "margin must be a finite number of at least 0, got -1"),
        (lambda: RelevanceMarginLoss(mining="easy"), "mining must be one of 'all', 'hardest', .*, got 'easy'"),
        (lambda: SymmetricMultiSimilarityLoss(-1), "margin must be a finite number of at least 0, got -1"),
        (lambda: SymmetricMultiSimilarityLoss(slack=-1), "slack must be a finite number of at least 0, got -1"),
        (lambda: SymmetricMultiSimilarityLoss(min_gap=-1), "min_gap must be a finite number of at least 0, got -1"),
        (lambda: RankedContrastiveLoss((0.4, 0.6), (1, 1, 1)), r"thresholds must be strictly decreasing, got \(0.4, "),
        (lambda: RankedContrastiveLoss((63,)), r"thresholds must lie in \[0, 1\], got \(63,\)"),
        (lambda: RankedContrastiveLoss(()), r"temperatures must have one entry more than thresholds \(\), got \(0.05"),
        (lambda: RankedContrastiveLoss((), (0,)), "every entry of temperatures must be a finite number above 0, got 0"),
        (lambda: RankedContrastiveLoss(variant="both"), "variant must be one of 'in', 'out', got 'both'"),
        (lambda: SigmoidLoss(0), "temperature must be a finite number above 0, got 0"),
        (lambda: SigmoidLoss(0.001), r"temperature must be at least 1 / max_scale = 0.01, got 0.001"),
        (lambda: SigmoidLoss(bias=float("nan")), "bias must be a finite number, or 'model', got nan"),
        (lambda: SigmoidLoss(relevance_weight=2), r"relevance_weight must lie in \[0, 1\], got 2"),
    ],
)
def test_arguments_are_checked(make_loss, message):
    with pytest.raises(ValueError, match=message):
        make_loss()
