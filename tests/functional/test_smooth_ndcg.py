import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from vse_lightning.functional import smooth_ndcg
from vse_lightning.functional.smooth_ndcg import gains_of


def smooth_ndcg_loop(scores, relevance, temperature, gain):
    totals = []
    for row, labels in zip(scores.numpy(), relevance.numpy(), strict=True):
        gains = 2**labels - 1 if gain == "exponential" else labels
        dcg = 0.0
        for j in range(len(row)):
            rank = 1 + sum(1 / (1 + np.exp(-(row[k] - row[j]) / temperature)) for k in range(len(row)) if k != j)
            dcg += gains[j] / np.log2(1 + rank)
        ideal = sum(g / np.log2(1 + rank) for rank, g in enumerate(sorted(gains, reverse=True), start=1))
        totals.append(1 - dcg / ideal)
    return totals


@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_equals_the_loop(lists, gain, temperature):
    total, count = smooth_ndcg(lists.scores, lists.relevance, temperature, gain)
    np.testing.assert_allclose(total, smooth_ndcg_loop(lists.scores, lists.relevance, temperature, gain), atol=1e-12)
    assert count.tolist() == [1] * 8


def test_value_worked_by_hand():
    scores = torch.tensor([[np.log(3.0), 0.0]])  # sigmoid(log 3) = 3/4
    total, _ = smooth_ndcg(scores, torch.tensor([[1.0, 0.0]]), temperature=1.0)
    assert total.item() == pytest.approx(1 - 1 / np.log2(2.25))


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_tends_to_the_ndcg_of_hard_ranks(lists, gain):
    scores = lists.scores + 0.001 * torch.arange(11)  # no ties: a smooth rank shares them, scikit-learn averages gains
    hard = [
        1 - ndcg_score(gains[None], row[None])
        for gains, row in zip(gains_of(lists.relevance, gain).numpy(), scores.numpy(), strict=True)
    ]
    total, _ = smooth_ndcg(scores, lists.relevance, 1e-6, gain)
    np.testing.assert_allclose(total, hard, atol=1e-9)


def test_a_perfect_list_costs_nothing_also_with_several_positives():
    relevance = torch.tensor([[1.0, 1.0, 1.0, 0.4, 0.0]])
    total, _ = smooth_ndcg(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), relevance)
    assert total.item() == pytest.approx(0, abs=1e-6)


def test_a_list_without_relevance_does_not_count():
    scores = torch.randn(2, 4, requires_grad=True)
    total, count = smooth_ndcg(scores, torch.tensor([[0.0] * 4, [1.0] * 4]))
    assert count.tolist() == [0, 1]
    assert total[0].item() == 0
    total.sum().backward()
    assert torch.equal(scores.grad[0], torch.zeros(4))


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_gradient(lists, gain):
    scores = lists.scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: smooth_ndcg(s, lists.relevance, 0.1, gain)[0], scores)


def test_a_second_derivative_is_refused():
    scores = torch.randn(2, 3, requires_grad=True)
    total, _ = smooth_ndcg(scores, torch.rand(2, 3))
    (gradient,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    penalty = gradient.square().sum()  # silence would train on a penalty without a gradient
    with pytest.raises(RuntimeError, match="smooth_ndcg has no second derivative"):
        penalty.backward()
