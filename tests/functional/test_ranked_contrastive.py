import numpy as np
import pytest
import torch

from vse_lightning.functional import contrastive, ranked_contrastive

LEVELS = {"none": ((), (0.3,)), "one": ((0.6,), (0.3, 0.5)), "three": ((0.8, 0.5, 0.2), (0.2, 0.3, 0.5, 0.9))}


def ranked_contrastive_loop(scores, relevance, positives, thresholds, temperatures, variant):
    totals, counts = [], []
    for row, labels, matched in zip(scores.numpy(), relevance.numpy(), positives.numpy(), strict=True):
        reached = [[number for number, lowest in enumerate(thresholds, 1) if label >= lowest] for label in labels]
        level_of = [0 if match else min(numbers, default=99) for match, numbers in zip(matched, reached, strict=True)]
        values = []
        for level, temperature in enumerate(temperatures):
            members = [np.exp(row[j] / temperature) for j in range(len(row)) if level_of[j] == level]
            lower = sum(np.exp(row[j] / temperature) for j in range(len(row)) if level_of[j] > level)
            if members and variant == "in":
                values.append(-np.log(sum(members) / (sum(members) + lower)))
            elif members:
                values.append(np.mean([-np.log(member / (member + lower)) for member in members]))
        totals.append(np.mean(values) if values else 0.0)
        counts.append(int(bool(values)))
    return totals, counts


@pytest.mark.parametrize("variant", ["in", "out"])
@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_equals_the_loop(lists, levels, variant):
    total, count = ranked_contrastive(*lists, *levels, variant)
    expected, queries = ranked_contrastive_loop(*lists, *levels, variant)
    np.testing.assert_allclose(total, expected, rtol=1e-10, atol=1e-12)
    assert count.tolist() == queries


def test_values_worked_by_hand():
    scores = torch.log(torch.tensor([[4.0, 2.0, 1.0, 1.0]]))
    relevance, positives = torch.tensor([[1.0, 0.8, 0.7, 0.1]]), torch.tensor([[True, False, False, False]])
    of_positive = np.log(8 / 4)
    total, _ = ranked_contrastive(scores, relevance, positives, (0.5,), (1.0, 1.0))
    assert total.item() == pytest.approx((of_positive + np.log(4 / 3)) / 2)
    total, _ = ranked_contrastive(scores, relevance, positives, (0.5,), (1.0, 1.0), "out")
    assert total.item() == pytest.approx((of_positive + (np.log(3 / 2) + np.log(2 / 1)) / 2) / 2)


def test_of_one_positive_and_no_thresholds_it_is_info_nce():
    scores, positives = torch.randn(6, 6, dtype=torch.float64), torch.eye(6, dtype=torch.bool)
    expected, ones = contrastive(scores, positives, scale=20.0)
    for variant in ("in", "out"):
        total, count = ranked_contrastive(scores, torch.rand(6, 6), positives, (), (0.05,), variant)
        torch.testing.assert_close(total, expected)
        assert torch.equal(count, ones)


def test_several_positives_are_summed_or_taken_singly(lists):
    scores, positives = lists.scores, lists.positives
    inside, _ = ranked_contrastive(*lists, (), (0.2,))
    odds = (scores / 0.2).exp()
    expected = -((odds * positives).sum(1) / odds.sum(1)).log()
    torch.testing.assert_close(inside, torch.where(positives.any(1), expected, 0))
    outside, _ = ranked_contrastive(*lists, (), (0.2,), "out")
    assert (outside >= inside - 1e-12).all()


@pytest.mark.parametrize("variant", ["in", "out"])
def test_tiny_temperatures_do_not_overflow(lists, variant):
    scores = lists.scores.float().requires_grad_()
    total, _ = ranked_contrastive(scores, lists.relevance.float(), lists.positives, (0.5,), (1e-30, 1e-30), variant)
    total.sum().backward()
    assert total.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("variant", ["in", "out"])
@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_gradient(lists, levels, variant):
    assert torch.autograd.gradcheck(
        lambda s: ranked_contrastive(s, lists.relevance, lists.positives, *levels, variant)[0],
        lists.scores.clone().requires_grad_(),
    )
