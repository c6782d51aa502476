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
