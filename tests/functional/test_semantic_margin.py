import pytest
import torch

from vse_lightning.functional import semantic_margin, triplet


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
def test_without_semantic_weight_it_is_the_triplet_loss(lists, mining):
    plain, pairs = triplet(lists.scores, lists.positives, 0.185, mining)
    total, count = semantic_margin(*lists, semantic_weight=0, mining=mining)
    torch.testing.assert_close(total, plain)
    assert torch.equal(count, pairs)


def test_equals_the_loop(lists):
    total, _ = semantic_margin(*lists, margin=0.1, semantic_weight=0.3)
    for query, (row, relevance, positives) in enumerate(zip(*lists, strict=True)):
        expected = sum(
            max([0.0] + [(0.1 + 0.3 * relevance[n] + row[n] - row[p]).item() for n in range(11) if not positives[n]])
            for p in range(11)
            if positives[p]
        )
        assert total[query].item() == pytest.approx(expected, abs=1e-12)


def test_the_closer_of_two_equal_negatives_is_pushed():
    scores = torch.tensor([[0.9, 0.8, 0.8]], requires_grad=True)
    total, _ = semantic_margin(scores, torch.tensor([[1.0, 0.4, 0.0]]), torch.tensor([[True, False, False]]))
    assert total.item() == pytest.approx(0.185 + 0.025 * 0.4 - 0.1)
    total.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[-1.0, 1.0, 0.0]]))


def test_gradient(lists):
    scores = (lists.scores + 0.003 * torch.arange(88).view(8, 11)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: semantic_margin(s, lists.relevance, lists.positives)[0], scores)


@pytest.mark.parametrize("mining", ["all", "hardest", "soft", "selective"])
def test_the_relevance_margin_of_unrelated_negatives_is_the_triplet_loss(lists, mining):
    unrelated = lists.positives.double()
    total, _ = semantic_margin(lists.scores, unrelated, lists.positives, 0.2, -0.2, mining)
    torch.testing.assert_close(total, triplet(lists.scores, lists.positives, 0.2, mining)[0])


def test_the_relevance_margin_of_equals_asks_nothing():
    scores, positives = torch.tensor([[0.5, 0.5]]), torch.tensor([[True, False]])
    assert semantic_margin(scores, torch.ones(1, 2), positives, 0.2, -0.2)[0].item() == 0
