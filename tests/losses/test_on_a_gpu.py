"""What only a GPU can show of every loss: it never waits, and agrees with the CPU, in half precision, compiled."""

import pytest
import torch

from vse_lightning.losses import ContrastiveLoss, KendallLoss, SmoothNDCGLoss, SymmetricMultiSimilarityLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def waiting_is_an_error():
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def make_batch(size, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    scores = (0.3 * torch.randn(size, size, generator=generator)).to(dtype)
    relevance = torch.rand(size, size, generator=generator) ** 2
    return scores, relevance, torch.rand(size, size, generator=generator) < 2 / size


def value_and_gradient(loss, scores, *labels):
    scores = scores.detach().requires_grad_()
    value = loss(scores, *labels)
    (gradient,) = torch.autograd.grad(value, scores)
    return value.detach(), gradient


def assert_equal(found, expected, rounding=1e-4):
    torch.testing.assert_close(found[0].cpu(), expected[0], rtol=2e-6, atol=2e-6, check_dtype=False)
    largest = float(expected[1].abs().max())
    torch.testing.assert_close(found[1].cpu().float(), expected[1].float(), rtol=0, atol=rounding * largest)


@pytest.mark.parametrize("size", [100, 600])  # all pairs, and sorted
def test_a_gpu_never_waits_and_agrees_with_the_cpu(make_loss, size, waiting_is_an_error):
    batch, loss = make_batch(size), make_loss()
    expected = value_and_gradient(loss, *batch)
    on_gpu, loss = [matrix.cuda() for matrix in batch], loss.cuda()
    value_and_gradient(loss, *on_gpu)  # what is loaded on first use may wait
    torch.cuda.synchronize()
    waiting_is_an_error()
    found = value_and_gradient(loss, *on_gpu)
    torch.cuda.set_sync_debug_mode("default")
    assert_equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(make_loss, dtype):
    (scores, *labels), loss = make_batch(200, dtype), make_loss()
    expected = value_and_gradient(loss, scores.float(), *labels)
    loss = loss.cuda()
    with torch.autocast("cuda", dtype=dtype):
        found = value_and_gradient(loss, scores.cuda(), *(matrix.cuda() for matrix in labels))
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    assert_equal(found, expected, rounding=torch.finfo(dtype).eps)


COMPILED = {
    "smooth-ndcg": SmoothNDCGLoss,
    "kendall": KendallLoss,
    "contrastive": lambda: ContrastiveLoss(relevance_weight=0.3),
    "sms": SymmetricMultiSimilarityLoss,
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_it_agrees_with_the_cpu(name):
    batch, loss = make_batch(200), COMPILED[name]()
    expected = value_and_gradient(loss, *batch)
    torch.compiler.reset()
    compiled = torch.compile(loss.cuda(), fullgraph=True)
    assert_equal(value_and_gradient(compiled, *(matrix.cuda() for matrix in batch)), expected)


@pytest.mark.parametrize("surrogate", ["sigmoid", "bound"])
def test_long_lists_agree_with_double_precision(surrogate):
    scores, relevance, positives = make_batch(4096)
    loss = SmoothNDCGLoss(surrogate=surrogate).cuda()
    some = [matrix[:64].cuda() for matrix in (scores, relevance, positives)]

    def values(dtype):
        queries = some[0].to(dtype).requires_grad_()
        ((total, _),) = loss.query_terms(queries, *some[1:]).values()
        return total.detach().cpu().float(), torch.autograd.grad(total.sum(), queries)[0].cpu().float()

    assert_equal(values(torch.float32), values(torch.float64), rounding=3e-5)
