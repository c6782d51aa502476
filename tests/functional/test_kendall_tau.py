"""Tau-b against scipy."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vse_lightning.functional._kendall_tau import kendall_tau


def scipy_tau(x, y):
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    with np.errstate(invalid="ignore"):
        values = [kendalltau(a, b).statistic for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    return torch.tensor(np.nan_to_num(values), dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 70),
    st.integers(1, 6),
    st.sampled_from([1, 2, 5, 1000]),
    st.sampled_from([1, 3, 1000]),
    st.integers(0, 1000),
)
def test_equals_scipy_with_any_amount_of_ties(length, lists, x_values, y_values, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(x_values, (lists, length), generator=generator).double()
    y = torch.randint(y_values, (lists, length), generator=generator).double()
    torch.testing.assert_close(kendall_tau(x, y), scipy_tau(x, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [2, 3, 64, 65, 1000, 5000])
def test_equals_scipy_on_long_lists(length):
    generator = torch.Generator().manual_seed(length)
    x = torch.rand(3, length, generator=generator, dtype=torch.float64)
    y = (x + torch.rand(3, length, generator=generator)).round(decimals=2)
    torch.testing.assert_close(kendall_tau(x, y), scipy_tau(x, y), rtol=0, atol=1e-12)


def test_lists_longer_than_a_short_integer():
    x = torch.rand(1, 40_000, dtype=torch.float64)
    y = x + torch.rand(1, 40_000)
    torch.testing.assert_close(kendall_tau(x, y), scipy_tau(x, y), rtol=0, atol=1e-12)


def test_symmetries():
    x, y = torch.randn(4, 20), torch.randn(4, 20)
    order = torch.randperm(20)
    tau = kendall_tau(x, y)
    torch.testing.assert_close(kendall_tau(y, x), tau)
    torch.testing.assert_close(kendall_tau(-x, y), -tau)
    torch.testing.assert_close(kendall_tau(x[:, order], y[:, order]), tau)
    torch.testing.assert_close(kendall_tau(x.exp(), y**3), tau)


def test_perfect_reversed_and_constant_lists():
    x = torch.arange(5.0)
    assert kendall_tau(x, 2 * x) == 1
    assert kendall_tau(x, -x) == -1
    assert kendall_tau(x, torch.ones(5)) == 0
    assert kendall_tau(torch.ones(5), x) == 0


def test_many_blocks_and_leading_dimensions(monkeypatch):
    x, y = torch.randn(3, 5, 16), torch.randn(3, 5, 16)
    whole = kendall_tau(x, y)
    monkeypatch.setattr(sys.modules["vse_lightning.functional._kendall_tau"], "_ELEMENTS_AT_ONCE", 32)
    assert torch.equal(kendall_tau(x, y), whole)
    assert whole.shape == (3, 5)


def test_lists_of_one_and_no_lists():
    assert kendall_tau(torch.rand(4, 1), torch.rand(4, 1)).tolist() == [0] * 4
    assert kendall_tau(torch.rand(0, 7), torch.rand(0, 7)).shape == (0,)


def test_half_precision_gives_float32():
    assert kendall_tau(torch.rand(2, 9).bfloat16(), torch.rand(2, 9)).dtype == torch.float32


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        kendall_tau(torch.zeros(2, 3), torch.zeros(2, 4))
