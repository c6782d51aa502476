import pytest
import torch


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def value_and_gradient(loss, batch):
    scores = batch.scores.detach().clone().requires_grad_()
    value = loss(scores, *batch[1:])
    value.backward()
    return value.detach(), scores.grad


def test_a_compiled_loss_is_one_graph_and_equal(make_loss, batch):
    loss = make_loss()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(value_and_gradient(compiled, batch), value_and_gradient(loss, batch))


def test_a_smaller_last_batch_is_one_graph_too(make_loss, batch):
    loss = make_loss()
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for images, texts in ((7, 9), (5, 6), (3, 4)):
        part = [matrix[:images, :texts] for matrix in batch]
        torch.testing.assert_close(compiled(*part), loss(*part))
