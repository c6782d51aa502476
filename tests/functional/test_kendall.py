import numpy as np
import pytest
import torch

from vse_lightning.functional import kendall

GAPS = [0.0, 0.1, 0.3, 0.95]


def all_pairs_loop(scores, relevance, gap):
    totals, counts = [], []
    for row, labels in zip(scores.numpy(), relevance.numpy(), strict=True):
        pairs = [(j, k) for j in range(len(row)) for k in range(len(row)) if labels[j] - labels[k] > gap]
        totals.append(sum(max(row[k] - row[j], 0.0) for j, k in pairs))
        counts.append(len(pairs))
    return totals, counts


def windows_loop(scores, relevance, gap, window, stride):
    totals, counts = [], []
    for row, labels in zip(scores.numpy(), relevance.numpy(), strict=True):
        order = sorted(range(len(row)), key=lambda j: (-labels[j], -row[j]))
        width = min(window, len(row) // 2)
        total, count = 0.0, 0
        for start in range(0, len(row) - 2 * width + 1, stride):
            upper, lower = order[start : start + width], order[start + width : start + 2 * width]
            if min(labels[j] for j in upper) - max(labels[k] for k in lower) > gap:
                total += max(max(row[k] for k in lower) - min(row[j] for j in upper), 0.0)
                count += 1
        totals.append(total)
        counts.append(count)
    return totals, counts


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_pairs_equal_the_loop(lists, gap, dtype):
    scores, relevance = lists.scores.to(dtype), lists.relevance.to(dtype)
    total, count = kendall(scores, relevance, gap)
    expected, pairs = all_pairs_loop(scores, relevance, relevance.new_tensor(gap).item())
    np.testing.assert_allclose(total, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)
    assert count.tolist() == pairs


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 5, 15, 16, 17, 33])
def test_all_pairs_equal_the_loop_at_every_length(candidates):
    generator = torch.Generator().manual_seed(candidates)
    for steps in (2, 5, 1000):  # from heavy ties to none
        scores = torch.randint(steps, (6, candidates), generator=generator).double() / steps
        relevance = torch.randint(steps, (6, candidates), generator=generator).double() / steps
        for gap in GAPS:
            total, count = kendall(scores, relevance, gap)
            expected, pairs = all_pairs_loop(scores, relevance, gap)
            np.testing.assert_allclose(total, expected, atol=1e-12)
            assert count.tolist() == pairs


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("window", [1, 2, 3, 5, 6, 40])
@pytest.mark.parametrize("stride", [1, 2, 4, 30])
def test_windows_equal_the_loop(lists, gap, window, stride):
    total, count = kendall(lists.scores, lists.relevance, gap, window, stride)
    expected, pairs = windows_loop(lists.scores, lists.relevance, gap, window, stride)
    np.testing.assert_allclose(total, expected, atol=1e-12)
    assert count.tolist() == pairs


def test_values_worked_by_hand():
    scores, relevance = torch.tensor([[0.2, 0.5, 0.1, 0.4]]), torch.tensor([[1.0, 0.8, 0.5, 0.0]])
    # pairs more than 0.25 apart: (0, 2), (0, 3), (1, 2), (1, 3), (2, 3); discordant: (0, 3) by 0.2, (2, 3) by 0.3
    total, count = kendall(scores, relevance, min_gap=0.25)
    assert total.item() == pytest.approx(0.5)
    assert count.tolist() == [5]
    # the windows {0, 1} and {2, 3} are 0.3 apart: 0.4 - 0.2
    total, count = kendall(scores, relevance, min_gap=0.25, window=2)
    assert total.item() == pytest.approx(0.2)
    assert count.tolist() == [1]
    # windows of one: 0 | 1 and 1 | 2 agree or are too close, 2 | 3 disagrees by 0.3
    total, count = kendall(scores, relevance, min_gap=0.25, window=1)
    assert total.item() == pytest.approx(0.3)
    assert count.tolist() == [2]


@pytest.mark.parametrize(("dtype", "pairs"), [(torch.float32, 0), (torch.float64, 1)])
def test_the_gap_is_strict_in_the_dtype_of_the_relevance(dtype, pairs):
    relevance = torch.tensor([[0.4, 0.1]], dtype=dtype)  # 0.4 - 0.1 is 0.3 in float32, a little more in float64
    assert kendall(torch.zeros_like(relevance), relevance, min_gap=0.3)[1].item() == pairs


def test_concordant_lists_cost_nothing(lists):
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    assert kendalltau(lists.relevance[2], lists.relevance[2]).statistic == pytest.approx(1)
    for window in (None, 1, 3):
        total, _ = kendall(lists.relevance, lists.relevance, 0.1, window)
        assert torch.equal(total, torch.zeros_like(total))


def test_a_single_candidate_has_no_pairs():
    for window in (None, 3):
        total, count = kendall(torch.randn(3, 1), torch.rand(3, 1), 0.0, window)
        assert total.tolist() == [0, 0, 0]
        assert count.tolist() == [0, 0, 0]


@pytest.mark.parametrize("window", [None, 1, 3])
def test_gradient(lists, window):
    scores = (lists.scores + 0.003 * torch.arange(88).view(8, 11)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kendall(s, lists.relevance, 0.1, window)[0], scores)
