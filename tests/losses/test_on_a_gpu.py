import pytest
import torch

from vse_lightning.losses import HierarchicalAPLoss, SmoothNDCGLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LISTWISE = {
    "smooth-ndcg": SmoothNDCGLoss,
    "smooth-ndcg-bound": lambda: SmoothNDCGLoss(surrogate="bound"),
    "hierarchical-ap": HierarchicalAPLoss,
}


@pytest.fixture
def waiting_is_an_error():
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def value_and_gradient(loss, scores, relevance):
    scores = scores.detach().requires_grad_()
    value = loss(scores, relevance)
    (gradient,) = torch.autograd.grad(value, scores)
    return value.detach(), gradient


@pytest.mark.parametrize("name", LISTWISE)
@pytest.mark.parametrize("size", [100, 600])  # all pairs, and sorted
def test_a_gpu_never_waits_and_agrees_with_the_cpu(name, size, request):
    generator = torch.Generator().manual_seed(0)
    scores, relevance = torch.rand(2, size, size, generator=generator)
    on_gpu, loss = (scores.cuda(), relevance.cuda()), LISTWISE[name]()
    torch.cuda.synchronize()
    request.getfixturevalue("waiting_is_an_error")
    value, gradient = value_and_gradient(loss, *on_gpu)
    torch.cuda.set_sync_debug_mode("default")
    expected, slopes = value_and_gradient(loss, scores, relevance)
    torch.testing.assert_close(value.cpu(), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(gradient.cpu(), slopes, rtol=0, atol=1e-4 * float(slopes.abs().max()))
