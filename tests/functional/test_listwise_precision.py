"""Single precision equals all pairs in double precision, whatever the temperature, the scores and the length."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from vse_lightning.functional import hierarchical_ap, smooth_ndcg

many = settings(max_examples=150, deadline=None, derandomize=True)


def pairs(scores: Tensor) -> Tensor:
    """How far the candidate of the last dimension stands above that of the second, without oneself."""
    oneself = torch.eye(scores.shape[1], dtype=torch.bool)
    return (scores[:, None, :] - scores[:, :, None]).masked_fill(oneself, -torch.inf)


def sigmoid(x: Tensor) -> Tensor:
    """With a derivative that has all its digits, which y (1 - y) has not."""
    return torch.nn.functional.logsigmoid(x).exp()


def soft_ranks(scores: Tensor, relevance: Tensor, temperature: float) -> Tensor:
    return 1 + sigmoid(pairs(scores) / temperature).sum(2)


def bounded_ranks(scores: Tensor, relevance: Tensor, temperature: float) -> Tensor:
    above = pairs(scores)
    knee = sigmoid(torch.tensor(0.05 / temperature, dtype=torch.float64))
    near = sigmoid(above / temperature) + torch.where(above > 0, 0.5, 0.0)
    excess = torch.where(above > 0.05, 100 * (above - 0.05) + 0.5 + knee, near)
    less_relevant = relevance[:, None, :] < relevance[:, :, None]
    return 1 + torch.where(less_relevant, excess, (above >= 0).double()).sum(2)


def ndcg(ranks: Tensor, relevance: Tensor) -> Tensor:
    gains = 2**relevance - 1
    places = torch.arange(1, ranks.shape[1] + 1, dtype=torch.float64)
    ideal = (gains.sort(1, descending=True).values / torch.log2(1 + places)).sum(1)
    return (gains / torch.log2(1 + ranks)).sum(1) / ideal


def hierarchical_precision(scores: Tensor, relevance: Tensor, temperature: float) -> Tensor:
    shared = torch.minimum(relevance[:, None, :], relevance[:, :, None])
    hierarchical = relevance + (sigmoid(pairs(scores) / temperature) * shared).sum(2)
    return (hierarchical / soft_ranks(scores, relevance, temperature)).sum(1) / relevance.sum(1)


FUNCTIONS = {
    "smooth_ndcg": (smooth_ndcg, lambda s, r, t: 1 - ndcg(soft_ranks(s, r, t), r)),
    "bound": (
        lambda s, r, t: smooth_ndcg(s, r, t, surrogate="bound"),
        lambda s, r, t: 1 - ndcg(bounded_ranks(s, r, t), r),
    ),
    "hierarchical_ap": (hierarchical_ap, lambda s, r, t: 1 - hierarchical_precision(s, r, t)),
}


class Lists(NamedTuple):
    scores: Tensor
    relevance: Tensor
    temperature: float


@st.composite
def any_lists(draw: st.DrawFn) -> Lists:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    # some with all pairs compared, some with the last block of a sorted list or a half not quite full
    candidates = draw(st.one_of(st.integers(1, 20), st.sampled_from([127, 128, 129, 135, 136, 137, 144, 300, 515])))
    even, bell = (make(2, candidates, generator=generator) for make in (torch.rand, torch.randn))
    scores = {
        "even": even,
        "bell": bell,
        "far apart": bell.pow(7),
        "in groups": (3 * even).floor() + 1e-4 * bell,
        "tied": (5 * even).floor() / 5,
        "constant": torch.ones(2, candidates),
    }
    labels = torch.rand(2, candidates, generator=generator)
    relevance = {
        "any": labels,
        "mostly low": labels**5,
        "few values": (4 * labels).floor() / 3,
        "one": torch.zeros(2, candidates),
    }[draw(st.sampled_from(["any", "mostly low", "few values", "one"]))]
    temperature = 10 ** draw(st.floats(-4, 1))
    spread = temperature * 10 ** draw(st.floats(-3, 6))  # up to a million temperatures
    offset = spread * draw(st.sampled_from([0.0, 1.0, -100.0]))
    chosen = scores[draw(st.sampled_from(list(scores)))] * spread + offset
    return Lists(chosen, relevance.index_fill(1, torch.tensor([candidates // 2]), 1), temperature)


def value_and_gradient(function, lists: Lists, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scores = lists.scores.to(dtype).requires_grad_()
    value = function(scores, lists.relevance.to(dtype), lists.temperature)
    value = value[0] if isinstance(value, tuple) else value
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    return value.detach().double(), gradient.double()


@many
@given(lists=any_lists())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_equals_all_pairs_in_double_precision(name, lists):
    function, oracle = FUNCTIONS[name]
    if name == "bound":  # its slope jumps where scores are 0.05 apart: rounding decides
        apart = pairs(lists.scores.double())
        assume(not ((apart - 0.05).abs() < 1e-7 * apart.abs().clamp(min=1)).any())
    value, gradient = value_and_gradient(function, lists, torch.float32)
    expected, slopes = value_and_gradient(oracle, lists, torch.float64)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)
    largest = slopes.abs().amax(1, keepdim=True)
    rounding = 1e-8 / lists.temperature  # where all pulls cancel or fade, what is left of one comparison
    assert ((gradient - slopes).abs() <= 3e-5 * largest + rounding).all()


@many
@given(lists=any_lists())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_double_precision_equals_all_pairs(name, lists):
    function, oracle = FUNCTIONS[name]
    value, gradient = value_and_gradient(function, lists, torch.float64)
    expected, slopes = value_and_gradient(oracle, lists, torch.float64)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    rounding = 1e-16 / lists.temperature
    assert ((gradient - slopes).abs() <= 1e-10 * slopes.abs().amax(1, keepdim=True) + rounding).all()
