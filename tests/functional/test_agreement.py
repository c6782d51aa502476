"""Agreement with people, against scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vse_lightning.functional import agreement

stats = pytest.importorskip("scipy.stats")


@settings(deadline=None)
@given(st.integers(2, 80), st.integers(2, 30), st.integers(2, 5), st.integers(0, 10**6))
def test_equals_scipy(count, values, ratings, seed):
    draw = np.random.default_rng(seed)
    x, y = draw.integers(0, values, count) / values, draw.integers(1, ratings + 1, count)
    found = agreement(torch.from_numpy(x), torch.from_numpy(y))
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert found == {"kendall_b": 0, "kendall_c": 0, "spearman": 0}
        return
    expected = stats.kendalltau(x, y, variant="b"), stats.kendalltau(x, y, variant="c"), stats.spearmanr(x, y)
    np.testing.assert_allclose(list(found.values()), [result.statistic for result in expected], atol=1e-12)


def test_several_ratings_of_a_pair_are_several_entries():
    values, ratings = [0.2, 0.2, 0.2, 0.9, 0.9, 0.9], [1, 1, 2, 4, 3, 4]
    found = agreement(torch.tensor(values), torch.tensor(ratings))
    assert found["kendall_c"] == pytest.approx(stats.kendalltau(values, ratings, variant="c").statistic)


@pytest.mark.parametrize(
    ("values", "ratings", "message"),
    [
        ([1.0], [1.0], "values and ratings must be as many"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "values and ratings must be as many"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "values and ratings must be as many"),
        ([1.0, torch.nan], [1.0, 2.0], "values must be finite"),
        ([1.0, 2.0], [1.0, torch.inf], "ratings must be finite"),
    ],
)
def test_refuses(values, ratings, message):
    with pytest.raises(ValueError, match=message):
        agreement(torch.tensor(values), torch.tensor(ratings))


@pytest.mark.parametrize("count", [16384, 16385, 40000])
def test_many_ratings(count):
    draw = np.random.default_rng(1)
    values, ratings = draw.normal(size=count), draw.integers(1, 5, count)
    found = agreement(torch.from_numpy(values), torch.from_numpy(ratings))
    assert found["kendall_b"] == pytest.approx(stats.kendalltau(values, ratings).statistic, abs=1e-12)
