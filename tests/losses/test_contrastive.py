import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from vse_lightning import functional
from vse_lightning.losses import ContrastiveLoss


def test_options_reach_the_function(batch):
    loss = ContrastiveLoss(temperature=0.1, relevance_weight=0.4, relevance_temperature=0.2).double()
    total, count = loss.query_terms(*batch)["contrastive"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    expected, queries = functional.contrastive(batch.scores, batch.positives, relevance, 10.0, 0.4, 0.2)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    assert torch.equal(count, queries)


def test_of_pairs_it_is_the_loss_of_clip():
    scores, labels = torch.randn(5, 5), torch.arange(5)
    expected = (cross_entropy(scores / 0.07, labels) + cross_entropy(scores.T / 0.07, labels)) / 2
    torch.testing.assert_close(ContrastiveLoss(temperature=0.07)(scores), expected)


def test_relevance_is_needed_only_with_weight():
    assert not ContrastiveLoss().needs_relevance
    assert ContrastiveLoss(relevance_weight=0.1).needs_relevance


def test_the_scale_is_learned_or_not(batch):
    for learnable in (True, False):
        loss = ContrastiveLoss(learnable=learnable)
        loss(*batch).backward() if learnable else loss(batch.scores.requires_grad_(), *batch[1:]).backward()
        assert (loss.log_scale.grad is not None) == learnable
        assert loss.log_scale.requires_grad == learnable


def test_the_scale_leaves_its_bound_again():
    """A clamp in the forward pass would have no gradient there and stick."""
    loss = ContrastiveLoss(temperature=0.01)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    correct = torch.eye(4) - 0.5
    wrong = correct.roll(1, 0)
    loss(correct * 1e-2).backward()  # a larger scale fits better
    optimizer.step()
    assert loss.log_scale > math.log(100)
    loss.clamp_()
    assert loss.log_scale.item() == pytest.approx(math.log(100))
    optimizer.zero_grad()
    loss(wrong * 1e-2).backward()
    optimizer.step()
    assert loss.log_scale < math.log(100)


def test_the_scale_travels_in_the_state():
    loss = ContrastiveLoss(temperature=0.02)
    other = ContrastiveLoss()
    other.load_state_dict(loss.state_dict())
    assert other.log_scale.exp().item() == pytest.approx(50)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        ContrastiveLoss(temperature=0)
    with pytest.raises(ValueError, match=r"temperature must be at least 1 / max_scale = 0.01, got 0.005"):
        ContrastiveLoss(temperature=0.005)
    assert ContrastiveLoss(temperature=0.01).log_scale.exp().item() == pytest.approx(100)
    with pytest.raises(ValueError, match="max_scale must be a finite number above 0, got inf"):
        ContrastiveLoss(max_scale=float("inf"))
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"relevance_weight must lie in \[0, 1\], got {weight}"):
            ContrastiveLoss(relevance_weight=weight)
    with pytest.raises(ValueError, match="relevance_temperature must be a finite number above 0, got 0"):
        ContrastiveLoss(relevance_temperature=0)
