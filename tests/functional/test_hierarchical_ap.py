import numpy as np
import pytest
import torch

from vse_lightning.functional import hierarchical_ap


def hierarchical_ap_loop(scores, relevance, temperature):
    totals = []
    for row, labels in zip(scores.numpy(), relevance.numpy(), strict=True):
        precision = 0.0
        for k in range(len(row)):
            rank, hierarchical = 1.0, labels[k]
            for j in set(range(len(row))) - {k}:
                above = 1 / (1 + np.exp(-(row[j] - row[k]) / temperature))
                rank += above
                hierarchical += above * min(labels[j], labels[k])
            precision += hierarchical / rank
        totals.append(1 - precision / labels.sum())
    return totals


def of_length(candidates, steps=1000):
    """Lists of a length, with scores and relevance in so many steps."""
    generator = torch.Generator().manual_seed(candidates)
    scores, relevance = torch.randint(steps, (2, 3, candidates), generator=generator).double() / steps
    return scores, relevance.index_fill(1, torch.tensor([0]), 0.9)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_equals_the_loop(lists, temperature):
    total, count = hierarchical_ap(lists.scores, lists.relevance, temperature)
    np.testing.assert_allclose(total, hierarchical_ap_loop(lists.scores, lists.relevance, temperature), atol=1e-12)
    assert count.tolist() == [1] * 8


@pytest.mark.parametrize("candidates", [1, 2, 127, 128, 129, 200, 256, 257, 300])  # whole, in two halves, in four
def test_equals_the_loop_at_every_length(candidates):
    for steps in (2, 7, 1000):
        scores, relevance = of_length(candidates, steps)
        total, _ = hierarchical_ap(scores, relevance, 0.03)
        np.testing.assert_allclose(total, hierarchical_ap_loop(scores, relevance, 0.03), atol=1e-12)


@pytest.mark.parametrize("candidates", [11, 150])
def test_with_binary_relevance_it_is_smooth_average_precision(candidates):
    scores, relevance = of_length(candidates)
    positives = relevance > 0.7
    above = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / 0.01)
    ranks, among_positives = above.sum(2) + 0.5, (above * positives[:, None, :]).sum(2) + 0.5
    precision = (positives * among_positives / ranks).sum(1) / positives.sum(1)
    total, _ = hierarchical_ap(scores, positives.double())
    torch.testing.assert_close(total, 1 - precision)


def test_tends_to_average_precision():
    average_precision_score = pytest.importorskip("sklearn.metrics").average_precision_score
    scores, relevance = torch.randperm(900).view(3, 300).double(), of_length(300)[1]
    positives = relevance > 0.7
    expected = [1 - average_precision_score(*row) for row in zip(positives.numpy(), scores.numpy(), strict=True)]
    total, _ = hierarchical_ap(scores, positives.double(), 1e-3)
    np.testing.assert_allclose(total, expected, atol=1e-12)


def test_a_list_sorted_by_relevance_costs_nothing():
    relevance = torch.tensor([[1.0, 1.0, 0.7, 0.4, 0.0]])
    total, _ = hierarchical_ap(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), relevance)
    assert total.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("candidates", [4, 150])
def test_a_list_without_relevance_does_not_count(candidates):
    scores = torch.randn(2, candidates, requires_grad=True)
    total, count = hierarchical_ap(scores, torch.tensor([[0.0], [1.0]]).expand(2, candidates))
    assert count.tolist() == [0, 1]
    assert total[0].item() == 0
    total.sum().backward()
    assert torch.equal(scores.grad[0], torch.zeros(candidates))


def test_gradient(lists):
    scores = lists.scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hierarchical_ap(s, lists.relevance, 0.1)[0], scores)


@pytest.mark.parametrize("candidates", [129, 300])
def test_gradient_of_long_lists(candidates):
    scores, relevance = of_length(candidates)
    scores = scores[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hierarchical_ap(s, relevance[:1], 0.02)[0], scores, fast_mode=True)


def test_a_second_derivative_is_refused():
    scores = torch.randn(2, 3, requires_grad=True)
    total, _ = hierarchical_ap(scores, torch.rand(2, 3))
    (gradient,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    with pytest.raises(RuntimeError, match="hierarchical_ap has no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize("candidates", [20, 300])
def test_the_order_of_candidates_does_not_matter(candidates):
    scores, relevance = of_length(candidates, 30)
    order = torch.randperm(candidates)
    total, _ = hierarchical_ap(scores, relevance)
    shuffled, _ = hierarchical_ap(scores[:, order], relevance[:, order])
    torch.testing.assert_close(shuffled, total, rtol=1e-12, atol=1e-12)


def test_arguments_are_checked():
    scores, relevance = torch.rand(2, 3, 5)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        hierarchical_ap(scores, relevance, 0)
    with pytest.raises(ValueError, match=r"relevance must have the shape of scores \(3, 5\), got \(5, 3\)"):
        hierarchical_ap(scores, relevance.T)
