import numpy as np
import pytest
import torch

from vse_lightning.functional import smooth_ndcg
from vse_lightning.functional.gains import gains_of


def soft_rank(row, labels, j, temperature):
    return 1 + sum(1 / (1 + np.exp(-(row[k] - row[j]) / temperature)) for k in range(len(row)) if k != j)


def bounded_rank(row, labels, j, temperature):
    def sigmoid(distance):
        return 1 / (1 + np.exp(-distance / temperature))

    rank = 1.0
    for k in set(range(len(row))) - {j}:
        above = row[k] - row[j]
        if labels[k] >= labels[j]:
            rank += above >= 0
        elif above <= 0:
            rank += sigmoid(above)
        elif above <= 0.05:
            rank += 0.5 + sigmoid(above)
        else:
            rank += 100 * (above - 0.05) + 0.5 + sigmoid(0.05)
    return rank


RANKS = {"sigmoid": soft_rank, "bound": bounded_rank}


def smooth_ndcg_loop(scores, relevance, temperature, gain, surrogate="sigmoid"):
    totals = []
    for row, labels in zip(scores.numpy(), relevance.numpy(), strict=True):
        gains = 2**labels - 1 if gain == "exponential" else labels
        ranks = [RANKS[surrogate](row, labels, j, temperature) for j in range(len(row))]
        dcg = sum(g / np.log2(1 + rank) for g, rank in zip(gains, ranks, strict=True))
        ideal = sum(g / np.log2(1 + rank) for rank, g in enumerate(sorted(gains, reverse=True), start=1))
        totals.append(1 - dcg / ideal)
    return totals


def of_length(candidates, steps=1000):
    """Lists of a length, with scores and relevance in so many steps."""
    generator = torch.Generator().manual_seed(candidates)
    scores, relevance = torch.randint(steps, (2, 3, candidates), generator=generator).double() / steps
    return scores, relevance.index_fill(1, torch.tensor([0]), 0.9)


@pytest.mark.parametrize("surrogate", RANKS)
@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_equals_the_loop(lists, gain, temperature, surrogate):
    total, count = smooth_ndcg(lists.scores, lists.relevance, temperature, gain, surrogate)
    expected = smooth_ndcg_loop(lists.scores, lists.relevance, temperature, gain, surrogate)
    np.testing.assert_allclose(total, expected, atol=1e-12)
    assert count.tolist() == [1] * 8


@pytest.mark.parametrize("surrogate", RANKS)
@pytest.mark.parametrize("candidates", [1, 2, 63, 64, 65, 128, 129, 136, 137, 200])
def test_equals_the_loop_at_every_length(candidates, surrogate):
    for steps in (7, 1000):  # with many ties, and few
        scores, relevance = of_length(candidates, steps)
        total, _ = smooth_ndcg(scores, relevance, 0.03, surrogate=surrogate)
        expected = smooth_ndcg_loop(scores, relevance, 0.03, "exponential", surrogate)
        np.testing.assert_allclose(total, expected, atol=1e-12)


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


def test_the_bound_is_never_below_the_loss_of_hard_ranks(lists):
    scores = lists.scores + 0.001 * torch.arange(11)
    hard, _ = smooth_ndcg(scores, lists.relevance, 1e-9)
    bound, _ = smooth_ndcg(scores, lists.relevance, 0.01, surrogate="bound")
    assert (bound >= hard).all()


def test_only_the_bound_pulls_at_a_large_mistake():
    gradients = []
    for surrogate in RANKS:
        scores = torch.tensor([[0.0, 0.9]], requires_grad=True)  # 90 temperatures apart, the wrong way round
        smooth_ndcg(scores, torch.tensor([[1.0, 0.0]]), surrogate=surrogate)[0].backward()
        gradients.append(scores.grad)
    assert gradients[0].abs().max() < 1e-30
    rank = 1 + 100 * 0.85 + 0.5 + 1 / (1 + np.exp(-5))
    slope = 100 / (np.log2(1 + rank) ** 2 * (1 + rank) * np.log(2))
    np.testing.assert_allclose(gradients[1], [[-slope, slope]], rtol=1e-6)


@pytest.mark.parametrize("surrogate", RANKS)
def test_a_perfect_list_costs_nothing_also_with_several_positives(surrogate):
    relevance = torch.tensor([[1.0, 1.0, 1.0, 0.4, 0.0]])
    total, _ = smooth_ndcg(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), relevance, surrogate=surrogate)
    assert total.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("surrogate", RANKS)
@pytest.mark.parametrize("candidates", [4, 150])
def test_a_list_without_relevance_does_not_count(surrogate, candidates):
    scores = torch.randn(2, candidates, requires_grad=True)
    relevance = torch.tensor([[0.0], [1.0]]).expand(2, candidates)
    total, count = smooth_ndcg(scores, relevance, surrogate=surrogate)
    assert count.tolist() == [0, 1]
    assert total[0].item() == 0
    total.sum().backward()
    assert torch.equal(scores.grad[0], torch.zeros(candidates))


@pytest.mark.parametrize("surrogate", RANKS)
@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_gradient(lists, gain, surrogate):
    # the bound has a step at 0 and a kink at 0.05
    scores = (lists.scores + 0.007 * torch.arange(11)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: smooth_ndcg(s, lists.relevance, 0.1, gain, surrogate)[0], scores)


@pytest.mark.parametrize("candidates", [129, 137, 150])
def test_gradient_of_long_lists(candidates):
    scores, relevance = of_length(candidates)
    scores = scores[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda s: smooth_ndcg(s, relevance[:1], 0.02)[0], scores, fast_mode=True)


@pytest.mark.parametrize("surrogate", RANKS)
def test_a_second_derivative_is_refused(surrogate):
    scores = torch.randn(2, 3, requires_grad=True)
    total, _ = smooth_ndcg(scores, torch.rand(2, 3), surrogate=surrogate)
    (gradient,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    penalty = gradient.square().sum()  # silence would train on a penalty without a gradient
    with pytest.raises(RuntimeError, match=r"smooth_ndcg.* has no second derivative"):
        penalty.backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(dtype):
    scores, relevance = torch.rand(2, 3, 20).to(dtype)
    total, _ = smooth_ndcg(scores, relevance)
    assert torch.equal(total, smooth_ndcg(scores.float(), relevance.float())[0])


@pytest.mark.parametrize("surrogate", RANKS)
@pytest.mark.parametrize("candidates", [20, 300])
def test_the_order_of_candidates_does_not_matter(candidates, surrogate):
    scores, relevance = of_length(candidates, 30)
    order = torch.randperm(candidates)
    total, _ = smooth_ndcg(scores, relevance, surrogate=surrogate)
    shuffled, _ = smooth_ndcg(scores[:, order], relevance[:, order], surrogate=surrogate)
    torch.testing.assert_close(shuffled, total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("surrogate", RANKS)
def test_how_many_lists_are_ranked_at_a_time_does_not_matter(surrogate):
    scores, relevance = torch.rand(2, 1100, 256)  # too many for one time
    total, _ = smooth_ndcg(scores, relevance, surrogate=surrogate)
    parts = [smooth_ndcg(*part, surrogate=surrogate)[0] for part in torch.stack([scores, relevance]).split(100, 1)]
    torch.testing.assert_close(torch.cat(parts), total, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("candidates", [11, 200])
def test_without_gradient_the_value_is_the_same(candidates):
    scores, relevance = of_length(candidates)
    with torch.no_grad():
        total, _ = smooth_ndcg(scores, relevance)
    assert torch.equal(total, smooth_ndcg(scores.clone().requires_grad_(), relevance)[0])


def test_labels_are_constants():
    scores, relevance = torch.rand(2, 3, 5).requires_grad_().unbind()
    total, _ = smooth_ndcg(scores, relevance)
    assert torch.autograd.grad(total.sum(), relevance, allow_unused=True) == (None,)


def test_arguments_are_checked():
    scores, relevance = torch.rand(2, 3, 5)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got -1"):
        smooth_ndcg(scores, relevance, -1)
    with pytest.raises(ValueError, match="gain must be one of 'exponential', 'linear', got 'log'"):
        smooth_ndcg(scores, relevance, gain="log")
    with pytest.raises(ValueError, match="surrogate must be one of 'sigmoid', 'bound', got 'step'"):
        smooth_ndcg(scores, relevance, surrogate="step")
    with pytest.raises(ValueError, match=r"relevance must have the shape of scores \(3, 5\), got \(3, 1\)"):
        smooth_ndcg(scores, relevance[:, :1])


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("name", ["smooth_ndcg", "smooth_ndcg_bound", "hierarchical_ap"])
def test_the_operations_keep_the_rules_of_torch_library(lists, with_gradient, name):
    scores = lists.scores.clone().requires_grad_(with_gradient)
    labels = lists.relevance.expand(2 if name == "smooth_ndcg_bound" else 1, 8, 11)
    operation = getattr(torch.ops.vse_lightning, name).default
    rules = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(operation, (scores, labels, 0.1, with_gradient), test_utils=rules)
