import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from vse_lightning.functional import contrastive


def softmax(row):
    exponentials = np.exp(row - row.max())
    return exponentials / exponentials.sum()


def contrastive_loop(scores, positives, relevance, scale, weight, temperature):
    totals, counts = [], []
    for row, labels, matched in zip(scores.numpy(), relevance.numpy(), positives.numpy(), strict=True):
        matches, softened = matched.sum(), softmax(labels / temperature)
        target = (1 - weight) * matched / matches + weight * softened if matches else (weight > 0) * softened
        log_probabilities = np.log(softmax(scale * row))
        totals.append(-sum(t * p for t, p in zip(target, log_probabilities, strict=True)))
        counts.append(int(matches > 0 or weight > 0))
    return totals, counts


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_loop(lists, weight, temperature):
    scores, relevance, positives = lists
    total, count = contrastive(scores, positives, relevance, 7.0, weight, temperature)
    expected, queries = contrastive_loop(scores, positives, relevance, 7.0, weight, temperature)
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    assert count.tolist() == queries


def test_value_worked_by_hand():
    scores = torch.tensor([[np.log(3.0), 0.0, 0.0]])  # probabilities 3/5, 1/5, 1/5
    total, _ = contrastive(scores, torch.tensor([[True, True, False]]), scale=1.0)
    assert total.item() == pytest.approx(-(np.log(0.6) + np.log(0.2)) / 2)


def test_one_positive_is_cross_entropy():
    scores = torch.randn(6, 6, dtype=torch.float64)
    total, count = contrastive(scores, torch.eye(6, dtype=torch.bool), scale=20.0)
    torch.testing.assert_close(total, cross_entropy(20 * scores, torch.arange(6), reduction="none"))
    assert count.tolist() == [1] * 6


def test_gradient(lists):
    scores, scale = lists.scores.clone().requires_grad_(), torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, c: contrastive(s, lists.positives, lists.relevance, c, 0.3)[0], (scores, scale)
    )
