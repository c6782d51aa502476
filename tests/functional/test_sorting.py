import pytest
import torch

from vse_lightning.functional.sorting import ascending, ascending_order


@pytest.mark.parametrize("threads", [1, 8])  # NumPy sorts, or torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_sorted(monkeypatch, threads, dtype):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    values = torch.randn(40, 30).to(dtype).T.requires_grad_()
    expected = values.detach().sort(dim=1).values
    assert torch.equal(ascending(values), expected)
    assert torch.equal(values.detach().gather(1, ascending_order(values)), expected)


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_stay_in_order(monkeypatch, threads, dtype):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    values = torch.tensor([[0.5, -torch.inf, -0.0, 3e38, 0.0, -1e-40, 0.5, torch.inf, -0.0, -2.5, -2.5]], dtype=dtype)
    assert ascending_order(values).tolist() == [[1, 9, 10, 5, 2, 4, 8, 0, 6, 3, 7]]
    many = torch.randint(-5, 5, (3, 200), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(ascending_order(many), many.argsort(dim=1, stable=True))
