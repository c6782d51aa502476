"""Average precision, for matches and for graded relevance, against scikit-learn and the equations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vse_lightning.functional import average_precision, average_precision_at_r, hierarchical_average_precision
from vse_lightning.functional._average_precision import average_precision_of_sorted

average_precision_score = pytest.importorskip("sklearn.metrics").average_precision_score


def lists(length, levels, seed, rows=4):
    """Scores and relevance with ties, or almost none for many levels."""
    draw = np.random.default_rng(seed)
    return (torch.from_numpy(draw.integers(0, levels, (rows, length)) / levels) for _ in range(2))


def hierarchical(s, r):
    """The equation, one candidate at a time."""
    precisions = [np.minimum(r[s >= s[k]], r[k]).sum() / (s >= s[k]).sum() for k in range(len(s))]
    return sum(precisions) / r.sum() if r.sum() else 0.0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.sampled_from([1, 2, 5, 10**6]), st.integers(0, 10**6))
def test_equal_scikit_learn_and_the_equation(length, levels, seed):
    scores, relevance = lists(length, levels, seed)
    positives = relevance > 0.4
    precision = [average_precision_score(p, s) if p.any() else 0 for p, s in zip(positives, scores, strict=True)]
    np.testing.assert_allclose(average_precision(scores, positives), precision, atol=1e-12)
    np.testing.assert_allclose(hierarchical_average_precision(scores, positives.double()), precision, atol=1e-12)
    order = scores.argsort(dim=1, descending=True)
    of_sorted = average_precision_of_sorted(scores.gather(1, order), positives.gather(1, order))
    np.testing.assert_allclose(of_sorted, precision, atol=1e-12)
    expected = [hierarchical(s, r) for s, r in zip(scores.numpy(), relevance.numpy(), strict=True)]
    np.testing.assert_allclose(hierarchical_average_precision(scores, relevance), expected, atol=1e-12)


@pytest.mark.parametrize("length", [32, 33, 65, 700, 2001])
@pytest.mark.parametrize("levels", [3, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_lists(length, levels, dtype):
    scores, relevance = lists(length, levels, seed=length, rows=2)
    expected = [hierarchical(s, r) for s, r in zip(scores.numpy(), relevance.numpy(), strict=True)]
    values = hierarchical_average_precision(scores.to(dtype), relevance.to(dtype))
    assert values.dtype == dtype
    np.testing.assert_allclose(values, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12)
    if dtype == torch.float64:
        order = torch.randperm(length, generator=torch.Generator().manual_seed(0))
        shuffled = hierarchical_average_precision(scores[:, order], relevance[:, order])
        torch.testing.assert_close(shuffled, values, rtol=1e-12, atol=0)


def test_limits():
    relevance = torch.rand(3, 200, generator=torch.Generator().manual_seed(0))
    ideal = hierarchical_average_precision(relevance, relevance)
    torch.testing.assert_close(ideal, torch.ones(3))
    assert ideal.max() <= 1
    assert hierarchical_average_precision(relevance, torch.zeros(3, 200)).tolist() == [0, 0, 0]
    constant = hierarchical_average_precision(torch.zeros(1, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert constant.tolist() == [0.5]
    assert hierarchical_average_precision(torch.empty(0, 3), torch.empty(0, 3)).shape == (0,)
    assert average_precision(torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0, 0]


def test_many_positives_are_counted_as_few_are():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(30, (5, 80), generator=generator) / 30
    few = torch.rand(5, 80, generator=generator) < 0.1
    many = torch.cat([few, torch.ones(1, 80, dtype=torch.bool)])
    beside = torch.cat([scores, scores[:1]])
    torch.testing.assert_close(average_precision_at_r(beside, many)[:5], average_precision_at_r(scores, few))
    columns = beside.T.contiguous().T  # as text queries of a score matrix
    assert torch.equal(average_precision(columns, many), average_precision(beside, many))
    torch.testing.assert_close(average_precision(beside, many)[:5], average_precision(scores, few))
