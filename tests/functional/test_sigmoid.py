import numpy as np
import pytest
import torch

from vse_lightning.functional import sigmoid


def sigmoid_loop(scores, positives, relevance, scale, bias, weight):
    totals = []
    for row, labels, matched in zip(scores.numpy(), relevance.numpy(), positives.numpy(), strict=True):
        total = 0.0
        for score, label, match in zip(row, labels, matched, strict=True):
            z, target = scale * score + bias, (1 - weight) * match + weight * label
            total += target * np.log1p(np.exp(-z)) + (1 - target) * np.log1p(np.exp(z))
        totals.append(total)
    return totals


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, 1.0)])
def test_equals_the_loop(lists, weight, scale, bias):
    scores, relevance, positives = lists
    total, count = sigmoid(scores, positives, relevance, scale, bias, weight)
    np.testing.assert_allclose(total, sigmoid_loop(scores, positives, relevance, scale, bias, weight), rtol=1e-12)
    assert count.tolist() == [1] * 8


def test_value_worked_by_hand():
    scores, positives = torch.log(torch.tensor([[3.0, 1.0]])), torch.tensor([[True, False]])
    total, _ = sigmoid(scores, positives, scale=1.0, bias=0.0)
    assert total.item() == pytest.approx(-np.log(3 / 4) - np.log(1 / 2))


def test_of_binary_relevance_the_weight_does_not_matter(lists):
    binary = lists.positives.double()
    plain, _ = sigmoid(lists.scores, lists.positives)
    for weight in (0.5, 1.0):
        torch.testing.assert_close(sigmoid(lists.scores, lists.positives, binary, relevance_weight=weight)[0], plain)


def test_candidates_do_not_compete(lists):
    whole, _ = sigmoid(lists.scores, lists.positives)
    halves = [sigmoid(lists.scores[:, part], lists.positives[:, part])[0] for part in (slice(5), slice(5, None))]
    torch.testing.assert_close(whole, sum(halves))


def test_gradient(lists):
    scores = lists.scores.clone().requires_grad_()
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (5.0, -2.0))
    assert torch.autograd.gradcheck(
        lambda s, c, b: sigmoid(s, lists.positives, lists.relevance, c, b, 0.3)[0], (scores, scale, bias)
    )
