import pytest
import torch

from vse_lightning.functional._kendall import count_smaller_between


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_counts_equal_comparisons(candidates):
    generator = torch.Generator().manual_seed(candidates)
    ranks = torch.rand(20, candidates, generator=generator).argsort(1)
    bounds = torch.randint(candidates + 1, (20, candidates, 2), generator=generator).sort(2).values
    start, stop = bounds.unbind(2)
    position = torch.arange(candidates)
    inside = (position >= start[:, :, None]) & (position < stop[:, :, None])
    expected = (inside & (ranks[:, None, :] < ranks[:, :, None])).sum(2)
    assert torch.equal(count_smaller_between(ranks, start, stop).long(), expected)


def test_an_empty_interval_holds_nothing():
    ranks = torch.arange(8).flip(0)[None]
    for bound in (0, 3, 8):
        bounds = torch.full_like(ranks, bound)
        assert not count_smaller_between(ranks, bounds, bounds).any()
