"""NaN among scores is refused; short and long vectors compare as any others."""

import pytest
import torch

from vse_lightning import evaluate_embeddings, functional

SCORES = torch.tensor([[0.3, 0.1, 0.2], [0.5, torch.nan, 0.4]])
MASK = torch.tensor([[True, False, False], [True, False, False]])
LABELS = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.2, 0.3]])

FUNCTIONS = {
    "ranks": lambda scores: functional.ranks(scores, MASK),
    "recall": lambda scores: functional.recall_at_k(scores, MASK, 1),
    "average precision": lambda scores: functional.average_precision(scores, MASK),
    "mAP@R": lambda scores: functional.average_precision_at_r(scores, MASK),
    "R-precision": lambda scores: functional.r_precision(scores, MASK),
    "NDCG": lambda scores: functional.ndcg_at_k(scores, LABELS, 2),
    "coherent score": lambda scores: functional.coherent_score(scores, LABELS, 2),
    "H-AP": lambda scores: functional.hierarchical_average_precision(scores, LABELS),
    "NCS": lambda scores: functional.cumulative_semantic(scores, LABELS, 2),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_scores_that_are_no_numbers_are_refused(function):
    with pytest.raises(ValueError, match="scores must be numbers, got NaN for query 1 and candidate 1"):
        function(SCORES)
    function(SCORES.nan_to_num(torch.inf))
    function(torch.tensor([[torch.inf, -torch.inf, 0.0], [0.5, 0.3, 0.4]]))


@pytest.mark.parametrize("lists", [(SCORES, LABELS), (LABELS, SCORES)])
def test_tau_of_what_has_no_order_is_refused(lists):
    with pytest.raises(ValueError, match="must hold numbers that can be ordered, got NaN"):
        functional.kendall_tau(*lists)


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-13, 1e20, 1e30])
def test_vectors_of_any_length_compare_alike(size):
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 9, 5, generator=generator)
    expected = functional.cosine_similarity(images.double(), texts.double())
    scaled = images * size
    tolerance = 0.02 if size == 1e-42 else 1e-6  # of which float32 keeps two digits
    assert (functional.cosine_similarity(scaled, texts * size) - expected).abs().max() < tolerance
    if size != 1e-42:
        assert evaluate_embeddings(scaled, texts * size) == evaluate_embeddings(images, texts)


def test_gradients_of_short_vectors_are_those_of_the_cosine():
    images = torch.tensor([[3e-20, -4e-20]], requires_grad=True)
    functional.cosine_similarity(images, torch.tensor([[1.0, 0.0]])).sum().backward()
    # of x / |x|: (1 - cos^2) / |x| and -cos sin / |x|
    torch.testing.assert_close(images.grad, torch.tensor([[0.64, 0.48]]) / 5e-20)


def test_zero_rows_stay_zero():
    scores = functional.cosine_similarity(torch.zeros(1, 3), torch.eye(3))
    assert torch.equal(scores, torch.zeros(1, 3))
