import sys

import numpy as np
import pytest
import torch

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
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
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


@pytest.mark.parametrize("block", [1, 40, 121, 300, 2000])  # parts of a row's comparisons, one row, several rows
@pytest.mark.parametrize("odds_range", [0, 340])
def test_blocks_do_not_matter(lists, monkeypatch, block, odds_range):
    def value_and_gradient():
        scores = lists.scores.clone().requires_grad_()
        total, _ = smooth_ndcg(scores, lists.relevance)
        return total.detach(), torch.autograd.grad(total.sum(), scores)[0]

    expected = value_and_gradient()
    module = sys.modules["vse_lightning.functional.smooth_ndcg"]
    monkeypatch.setattr(module, "_CPU_BLOCK", block)
    monkeypatch.setattr(module, "_LARGEST_BLOCK", block)
    monkeypatch.setattr(module, "_ODDS_RANGE", odds_range)
    torch.testing.assert_close(value_and_gradient(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spread", [1e-6, 0.3, 3.0, 1e3])
def test_single_precision_is_enough(spread):
    generator = torch.Generator().manual_seed(0)
    scores = spread * torch.randn(4, 64, dtype=torch.float64, generator=generator)
    scores = scores.float().double()  # the same numbers in both precisions
    relevance = torch.rand(4, 64, generator=generator)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = scores.to(dtype).requires_grad_()
        total, _ = smooth_ndcg(leaf, relevance.to(dtype), temperature=0.01)
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        results.append((total.detach().double(), gradient.double()))
    torch.testing.assert_close(*results, rtol=1e-4, atol=2e-6)


def test_without_gradient_the_value_is_the_same(lists):
    with torch.no_grad():
        total, _ = smooth_ndcg(lists.scores, lists.relevance)
    assert torch.equal(total, smooth_ndcg(lists.scores.clone().requires_grad_(), lists.relevance)[0])


@pytest.mark.parametrize("with_gradient", [True, False])
def test_the_operation_keeps_the_rules_of_torch_library(lists, with_gradient):
    scores = lists.scores.clone().requires_grad_(with_gradient)
    operation = torch.ops.vse_lightning.smooth_dcg.default
    rules = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(operation, (scores, lists.relevance, 0.1, with_gradient), test_utils=rules)
