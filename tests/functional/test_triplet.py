import numpy as np
import pytest
import torch
from torch import Tensor

from vse_lightning.functional import triplet

MINING = ["all", "hardest", "soft", "selective"]


def triplet_loop(
    scores: Tensor, positives: Tensor, margins: Tensor, mining: str, tau: float, epsilon: float, average: bool
) -> tuple[list[float], list[int]]:
    totals, counts = [], []
    for row, matched, margin in zip(scores.numpy(), positives.numpy(), margins.numpy(), strict=True):
        negatives = np.flatnonzero(~matched)
        matches = np.flatnonzero(matched) if len(negatives) else []
        total = 0.0
        for positive in matches:
            gaps = [row[n] - row[positive] + margin[n] for n in negatives]
            hinges = [max(gap, 0.0) for gap in gaps]
            near = abs(row[positive] - max(row[n] for n in negatives)) < epsilon
            if mining == "soft":
                total += max(tau * np.log(sum(np.exp(gap / tau) for gap in gaps)), 0.0)
            elif mining == "all":
                total += np.mean(hinges) if average else np.sum(hinges)
            elif mining == "selective" and near:
                total += np.mean(hinges)
            else:
                total += max(hinges)
        totals.append(total)
        counts.append(len(matches))
    return totals, counts


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("margin", ["number", "per candidate"])
def test_equals_the_loop(lists, mining, average, margin):
    margins = torch.full_like(lists.scores, 0.2) if margin == "number" else 0.1 + 0.1 * lists.relevance
    given = 0.2 if margin == "number" else margins
    total, count = triplet(lists.scores, lists.positives, given, mining, 0.05, 0.15, average)
    expected, pairs = triplet_loop(lists.scores, lists.positives, margins, mining, 0.05, 0.15, average)
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)
    assert count.tolist() == pairs


def test_values_worked_by_hand():
    scores = torch.tensor([[0.5, 0.6, 0.35, 0.1]])
    positives = torch.tensor([[True, False, False, False]])
    # gaps to the positive with margin 0.2: 0.3, 0.05, -0.2
    assert triplet(scores, positives)[0].item() == pytest.approx(0.3)
    assert triplet(scores, positives, mining="all")[0].item() == pytest.approx(0.35 / 3)
    assert triplet(scores, positives, mining="all", average=False)[0].item() == pytest.approx(0.35)
    soft = 0.1 * np.log(np.exp(3) + np.exp(0.5) + np.exp(-2))
    assert triplet(scores, positives, mining="soft", temperature=0.1)[0].item() == pytest.approx(soft)
    # the hardest negative is 0.1 away from the positive
    assert triplet(scores, positives, mining="selective", epsilon=0.11)[0].item() == pytest.approx(0.35 / 3)
    assert triplet(scores, positives, mining="selective", epsilon=0.09)[0].item() == pytest.approx(0.3)


def test_captions_of_the_same_image_are_no_negatives():
    scores = torch.tensor([[0.5, 0.9, 0.1]])
    assert triplet(scores, torch.tensor([[True, True, False]]))[0].item() == 0


def test_soft_tends_to_hardest(lists):
    hardest, _ = triplet(lists.scores, lists.positives)
    previous = torch.inf
    for temperature in (0.1, 0.01, 0.001):
        soft, _ = triplet(lists.scores, lists.positives, mining="soft", temperature=temperature)
        distance = (soft - hardest).abs().max().item()
        assert distance <= previous
        previous = distance
    assert previous < 0.01


@pytest.mark.parametrize(("epsilon", "same_as"), [(0.0, "hardest"), (1e9, "all")])
def test_selective_lies_between_hardest_and_all(lists, epsilon, same_as):
    selective, _ = triplet(lists.scores, lists.positives, mining="selective", epsilon=epsilon)
    torch.testing.assert_close(selective, triplet(lists.scores, lists.positives, mining=same_as)[0])


@pytest.mark.parametrize("mining", MINING)
def test_gradient(lists, mining):
    scores = (lists.scores + 0.003 * torch.arange(88).view(8, 11)).requires_grad_()  # no hinge sits on its kink
    assert torch.autograd.gradcheck(lambda s: triplet(s, lists.positives, 0.187, mining, 0.05, 0.15)[0], scores)


@pytest.mark.parametrize("decimals", [9, 1])
def test_many_positives_cost_what_all_pairs_cost(decimals):
    """More than a few are sorted with the list, not compared one by one; both are the sum over all pairs, ties too."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(30, 50, dtype=torch.float64, generator=generator).round(decimals=decimals).requires_grad_()
    for share in (0.02, 0.1, 0.5, 0.9):
        positives = torch.rand(30, 50, generator=generator) < share
        pairs = positives[:, :, None] & ~positives[:, None, :]
        expected = torch.where(pairs, (scores[:, None, :] - scores[:, :, None]).relu(), 0).sum((1, 2))
        total, _ = triplet(scores, positives, 0.0, "all", average=False)
        torch.testing.assert_close(total, expected)
        slopes = [torch.autograd.grad(value.sum(), scores)[0] for value in (total, expected)]
        torch.testing.assert_close(*slopes)
