import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vse_lightning.functional.smooth_ranks.sigmoid_sums import SigmoidSums


def sums_of_pairs(scores, weights, temperature):
    """In double precision: the sums of the sigmoids, and of their slopes."""
    above = (scores[:, None, :] - scores[:, :, None]).double() / temperature
    oneself = torch.eye(scores.shape[1], dtype=torch.bool)
    higher, lower = (torch.sigmoid(sign * above).masked_fill(oneself, 0) for sign in (1, -1))
    return (higher * weights[:, None, :]).sum(2), (higher * lower * weights[:, None, :]).sum(2)


@pytest.mark.parametrize("candidates", [1, 2, 7, 8, 9, 16, 17, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 30.0, 1e5])
def test_equal_the_sums_of_all_pairs(candidates, dtype, spread):
    generator = torch.Generator().manual_seed(candidates)
    scores = 7 + spread * torch.randn(3, candidates, generator=generator).to(dtype)
    scores[:, ::3] = scores[:, :1].clone()  # a third of them tie
    weights = torch.rand(3, candidates, generator=generator).to(dtype)
    weights[:, candidates // 2 :] = 0
    exactly = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    sums = SigmoidSums(scores, 1.0)
    for given in (None, weights):
        expected = sums_of_pairs(scores, torch.ones_like(scores) if given is None else given, 1.0)
        torch.testing.assert_close(sums.sums(given).double(), expected[0].double(), **exactly)
        torch.testing.assert_close(sums.slopes(given).double(), expected[1].double(), **exactly)


class LargestTensor(TorchDispatchMode):
    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.entries = max(self.entries, *sizes, 0)
        return result


def test_no_tensor_is_larger_than_a_few_times_the_scores():
    scores = torch.rand(4, 1000)
    with LargestTensor() as largest:
        SigmoidSums(scores, 0.01).slopes(torch.rand(4, 1000))
    assert scores.numel() < largest.entries < 5 * scores.numel()
