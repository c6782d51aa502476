import numpy as np
import pytest
import torch

from vse_lightning.functional import multi_similarity, semantic_margin


def multi_similarity_loop(scores, relevance, positives, margin, slack, min_gap):
    totals, counts = [], []
    for row, labels, matched in zip(scores.numpy(), relevance.numpy(), positives.numpy(), strict=True):
        negatives = np.flatnonzero(~matched)
        matches = np.flatnonzero(matched) if len(negatives) else []
        total = 0.0
        for positive in matches:
            terms = []
            for negative in negatives:
                distance = 1 - labels[negative]
                h = margin * distance - (row[positive] - row[negative])
                terms.append(max(h, 0) if distance > min_gap else max(abs(h) - slack, 0))
            total += np.mean(terms)
        totals.append(total)
        counts.append(len(matches))
    return totals, counts


@pytest.fixture(params=[0.005, 0.3, 1.0])
def min_gap(request):
    """With the largest, every negative is nearly as relevant."""
    return request.param


def test_equals_the_loop(lists, min_gap):
    total, count = multi_similarity(*lists, 0.6, 0.1, min_gap)
    expected, pairs = multi_similarity_loop(*lists, 0.6, 0.1, min_gap)
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)
    assert count.tolist() == pairs


def test_values_worked_by_hand():
    scores, relevance = torch.tensor([[0.9, 0.6, 0.5]]), torch.tensor([[1.0, 0.5, 0.998]])
    positives = torch.tensor([[True, False, False]])
    # the first negative: 0.6 * 0.5 - 0.3 = 0; the second, nearly as relevant: |0.6 * 0.002 - 0.4| - 0.1
    assert multi_similarity(scores, relevance, positives)[0].item() == pytest.approx((0.3988 - 0.1) / 2)
    # a negative that scores above the positive is pulled back to within the slack
    above = torch.tensor([[0.5, 0.2, 0.9]])
    assert multi_similarity(above, relevance, positives)[0].item() == pytest.approx((0.4012 - 0.1) / 2)


def test_a_near_equal_is_pulled_up_and_pushed_down():
    relevance, positives = torch.tensor([[1.0, 1.0]]), torch.tensor([[True, False]])
    for score, sign in ((0.2, -1.0), (0.8, 1.0), (0.45, 0.0)):
        scores = torch.tensor([[0.5, score]], requires_grad=True)
        multi_similarity(scores, relevance, positives)[0].sum().backward()
        assert scores.grad.tolist() == [[-sign, sign]]


def test_without_near_equals_it_is_the_relevance_margin_on_all_negatives(lists):
    relevance = torch.where(lists.positives, 1, 0.9 * lists.relevance)
    total, count = multi_similarity(lists.scores, relevance, lists.positives)
    expected, pairs = semantic_margin(lists.scores, relevance, lists.positives, 0.6, -0.6, "all")
    torch.testing.assert_close(total, expected)
    assert torch.equal(count, pairs)


def test_gradient(lists, min_gap):
    scores = (lists.scores + 0.003 * torch.arange(88).view(8, 11)).requires_grad_()  # no hinge sits on its kink
    relevance = torch.where(lists.positives, 1, 0.99 * lists.relevance)
    assert torch.autograd.gradcheck(
        lambda s: multi_similarity(s, relevance, lists.positives, 0.587, 0.1, min_gap)[0], scores
    )
