import pytest
import torch


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_the_same_batch_gives_the_same_bits(make_loss):
    generator = torch.Generator().manual_seed(0)
    scores, relevance = torch.rand(2, 40, 40, generator=generator)
    results = []
    for _ in range(2):
        leaf = scores.clone().requires_grad_()
        value = make_loss()(leaf, relevance)
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(*results, rtol=0, atol=0)
