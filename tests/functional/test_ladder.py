import numpy as np
import pytest
import torch

from vse_lightning.functional import ladder, triplet

TWO_RUNGS = ((0.2, 0.1), (0.5,), (0.25,))
FOUR_RUNGS = ((0.2, 0.1, 0.05, 0.01), (0.8, 0.5, 0.2), (0.5, 0.25, 2.0))


def ladder_loop(scores, relevance, positives, margins, thresholds, weights, mode, cumulative):
    totals, counts = [], []
    for row, labels, matched in zip(scores.numpy(), relevance.numpy(), positives.numpy(), strict=True):
        levels = np.percentile(labels, thresholds) if mode == "percentile" else thresholds
        total = 0.0
        pairs = matched.sum() if not matched.all() else 0
        for positive in np.flatnonzero(matched)[:pairs]:
            total += max(margins[0] - row[positive] + row[~matched].max(), 0.0)
            for rung, (level, weight) in enumerate(zip(levels, weights, strict=True), start=1):
                above, below = row[labels >= level], row[labels < level]
                if not len(below):
                    continue
                if cumulative:
                    hinge = sum(margins[: rung + 1]) - row[positive] + below.max()
                else:
                    hinge = margins[rung] - above.min() + below.max()
                total += weight * max(hinge, 0.0)
        totals.append(total)
        counts.append(pairs)
    return totals, counts


@pytest.mark.parametrize("rungs", [TWO_RUNGS, FOUR_RUNGS])
@pytest.mark.parametrize("mode", ["absolute", "percentile"])
@pytest.mark.parametrize("cumulative", [False, True])
def test_equals_the_loop(lists, rungs, mode, cumulative):
    margins, thresholds, weights = rungs
    if mode == "percentile":
        thresholds = tuple(100 * threshold for threshold in thresholds)
    total, count = ladder(*lists, margins, thresholds, weights, mode, cumulative)
    expected, pairs = ladder_loop(*lists, margins, thresholds, weights, mode, cumulative)
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)
    assert count.tolist() == pairs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("candidates", [11, 21, 101])
def test_a_percentile_that_is_a_candidate_includes_it(dtype, candidates):
    relevance = torch.linspace(0, 1, candidates, dtype=dtype)[None]
    positives = relevance == 1
    for percentile in range(0, 100, 100 // (candidates - 1)):
        scores = torch.zeros_like(relevance)
        scores[0, round(percentile * (candidates - 1) / 100)] = -1  # the least similar of the more relevant
        total, _ = ladder(scores, relevance, positives, (0.0, 0.0), (percentile,), (1.0,), "percentile")
        assert total.item() == (1 if percentile else 0)  # at percentile 0 nobody is left below


def test_value_worked_by_hand():
    scores = torch.tensor([[0.9, 0.3, 0.5, -0.2]])
    relevance = torch.tensor([[1.0, 0.7, 0.3, 0.1]])
    positives = torch.tensor([[True, False, False, False]])
    # rung 1: 0.45 - 0.9 + 0.5; rung 2: 0.02 - 0.3 + 0.5; rung 3: 0.01 - 0.3 - 0.2 is below 0
    total, count = ladder(scores, relevance, positives, (0.45, 0.02, 0.01), (0.6, 0.2), (0.5, 1.0))
    assert total.item() == pytest.approx(0.05 + 0.5 * 0.22)
    assert count.tolist() == [1]


def test_scores_below_zero_keep_their_order():
    """A mask of 0, as in the released code, would take 0 for the most similar of the rest."""
    scores, relevance = torch.tensor([[-0.1, -0.5, -0.9]]), torch.tensor([[1.0, 0.7, 0.1]])
    total, _ = ladder(scores, relevance, torch.tensor([[True, False, False]]), (0.0, 0.1), (0.5,), (1.0,))
    assert total.item() == 0


@pytest.mark.parametrize(("thresholds", "weights"), [((), ()), ((0.5,), (0.0,))])
@pytest.mark.parametrize("cumulative", [False, True])
def test_without_weight_it_is_the_triplet_loss(lists, thresholds, weights, cumulative):
    margins = (0.2, 0.1)[: 1 + len(thresholds)]
    total, count = ladder(*lists, margins, thresholds, weights, cumulative=cumulative)
    expected, pairs = triplet(lists.scores, lists.positives)
    torch.testing.assert_close(total, expected)
    assert torch.equal(count, pairs)


@pytest.mark.parametrize("cumulative", [False, True])
def test_gradient(lists, cumulative):
    scores = (lists.scores + 0.003 * torch.arange(88).view(8, 11)).requires_grad_()
    options = (0.187, 0.113, 0.057), (0.75, 0.35), (0.5, 0.25), "absolute", cumulative
    assert torch.autograd.gradcheck(lambda s: ladder(s, lists.relevance, lists.positives, *options)[0], scores)
