"""Whatever finite scores come in, a finite loss with a finite gradient comes out."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from vse_lightning.losses import (
    ContrastiveLoss,
    HierarchicalAPLoss,
    KendallLoss,
    LadderLoss,
    LSEHLoss,
    RankedContrastiveLoss,
    SmoothNDCGLoss,
    SymmetricMultiSimilarityLoss,
    TripletLoss,
)

each_example_is_checked_alone = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HALF = (torch.float16, torch.bfloat16)
LARGEST = {torch.float32: 1e30, torch.float64: 1e200, torch.float16: 1e4, torch.bfloat16: 1e30}


class Batch(NamedTuple):
    scores: Tensor
    relevance: Tensor
    positives: Tensor


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from(list(LARGEST)))
    size = draw(st.sampled_from([1.0, LARGEST[dtype], 1 / LARGEST[dtype], 0.1]))
    direction = {
        "any": torch.randn(shape, generator=generator, dtype=torch.float64).clamp(-3, 3),
        "few": torch.randint(-1, 2, shape, generator=generator).double(),
        "constant": torch.ones(shape, dtype=torch.float64),
    }[draw(st.sampled_from(["any", "few", "constant"]))]
    relevance = {
        "any": torch.rand(shape, generator=generator),
        "few": torch.randint(3, shape, generator=generator) / 2,
        "zero": torch.zeros(shape),
        "one": torch.ones(shape),
    }[draw(st.sampled_from(["any", "few", "zero", "one"]))]
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    positives = torch.rand(shape, generator=generator) < share
    return Batch((direction * size).to(dtype).requires_grad_(), relevance.to(dtype), positives)


def check(loss, batch):
    value = loss(*batch)
    (gradient,) = torch.autograd.grad(value, batch.scores)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert value.dtype == (torch.float32 if batch.scores.dtype in HALF else batch.scores.dtype)
    assert value >= -1e-6


@each_example_is_checked_alone
@given(batch=batches())
def test_every_loss_is_finite(make_loss, batch):
    check(make_loss(), batch)


@settings(each_example_is_checked_alone, max_examples=300)
@given(batch=batches(), temperature=st.sampled_from([1.0, 1e-30, 1e30, 1e-3, 1e-10, 1e10]))
def test_every_temperature_is_finite(batch, temperature):
    if batch.scores.dtype == torch.float16:
        temperature = max(temperature, 1e-3)  # float16 has no number for a gradient above 65504
    check(TripletLoss(mining="soft", temperature=temperature), batch)
    check(SmoothNDCGLoss(temperature=temperature), batch)
    check(SmoothNDCGLoss(temperature=temperature, surrogate="bound"), batch)
    check(HierarchicalAPLoss(temperature=temperature), batch)
    check(ContrastiveLoss(relevance_weight=0.5, relevance_temperature=temperature), batch)


@pytest.mark.parametrize("dtype", HALF)
def test_autocast_changes_nothing(make_loss, dtype):
    generator = torch.Generator().manual_seed(0)
    embeds = torch.nn.functional.normalize(torch.randn(2, 20, 8, generator=generator), dim=2).requires_grad_()
    relevance, loss = torch.rand(20, 20, generator=generator), make_loss()
    with torch.autocast("cpu", dtype=dtype):
        scores = embeds[0] @ embeds[1].T
        under_autocast = loss(scores, relevance)
    assert scores.dtype == dtype
    plain = loss(scores.float(), relevance)
    torch.testing.assert_close(under_autocast, plain, rtol=1e-6, atol=1e-7)
    gradients = [torch.autograd.grad(value, scores, retain_graph=True)[0] for value in (under_autocast, plain)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def nothing_to_compare():
    """Of every loss: lists in which no term is active."""
    yes, no = torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool)
    for name, positives in (("no positives", no), ("only positives", yes)):
        for mining in ("all", "hardest", "soft", "selective"):
            yield f"{mining}, {name}", TripletLoss(mining=mining), None, positives
        yield f"ladder, {name}", LadderLoss(), torch.rand(3, 3), positives
        yield f"lseh, {name}", LSEHLoss(), torch.rand(3, 3), positives
    for window in (None, 1):
        yield f"kendall, constant relevance, window {window}", KendallLoss(window=window), torch.full((3, 3), 0.5), no
    for surrogate in ("sigmoid", "bound"):
        yield f"smooth ndcg, {surrogate}, no relevance", SmoothNDCGLoss(surrogate=surrogate), torch.zeros(3, 3), no
    yield "hierarchical ap, no relevance", HierarchicalAPLoss(), torch.zeros(3, 3), no
    yield "contrastive, no positives", ContrastiveLoss(), None, no
    yield "sms, no positives", SymmetricMultiSimilarityLoss(), torch.rand(3, 3), no
    yield "sms, only positives", SymmetricMultiSimilarityLoss(), torch.rand(3, 3), yes
    yield "rince, nothing relevant", RankedContrastiveLoss(), torch.rand(3, 3) / 2, no


CASES = {name: case for name, *case in nothing_to_compare()}


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_compare_is_a_zero_with_a_gradient(name):
    loss, relevance, positives = CASES[name]
    scores = torch.randn(3, 3, requires_grad=True)
    value = loss(scores, relevance, positives)
    value.backward()
    assert value.item() == 0
    assert torch.equal(scores.grad, torch.zeros(3, 3))


@pytest.mark.parametrize("candidates", [1, 4])
def test_a_single_query(make_loss, candidates):
    scores = torch.randn(1, candidates, requires_grad=True)
    positives = torch.arange(candidates)[None] == 0
    value = make_loss()(scores, torch.rand(1, candidates), positives)
    value.backward()
    assert value.isfinite()
    assert scores.grad.isfinite().all()


def test_no_queries_is_a_zero_with_a_gradient(make_loss):
    """A process whose share of a small last batch is empty still takes part in the backward pass."""
    scores = torch.zeros(0, 4, requires_grad=True)
    terms = make_loss().query_terms(scores, torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool))
    for total, count in terms.values():
        assert total.shape == count.shape == (0,)
        total.sum().backward(retain_graph=True)
    assert scores.grad.shape == (0, 4)


def test_large_scores_keep_the_digits_of_their_differences():
    """A shift of all scores changes no loss: sums are taken over differences."""
    scores, relevance = torch.arange(64.0).view(8, 8)[:, torch.randperm(8)] / 16, torch.rand(8, 8)
    listwise = SmoothNDCGLoss(0.5), SmoothNDCGLoss(0.5, surrogate="bound"), HierarchicalAPLoss(0.5)
    for loss in (TripletLoss(0.25, "all"), KendallLoss(0.1), KendallLoss(0.1, window=2), *listwise):
        torch.testing.assert_close(loss(scores + 4096, relevance), loss(scores, relevance), rtol=1e-5, atol=0)
