"""What every ranking function demands of its arguments: one row per query, one column per candidate."""

import torch
from torch import Tensor

from vse_lightning.checks import require


def as_scores(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, after checking that they can be ranked: none is NaN."""
    scores = as_floats(scores)
    if scores.sum().isnan() and scores.isnan().any():  # a sum takes a fraction of the time
        query, candidate = scores.isnan().nonzero()[0].tolist()
        raise ValueError(f"scores must be numbers, got NaN for query {query} and candidate {candidate}")
    return scores


def as_floats(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, without a look at the values; half is promoted to float32."""
    matrix = scores.ndim == 2 and scores.shape[1] > 0
    require(matrix, "scores must be (queries, candidates) with at least one candidate, got {}", scores.shape)
    require(scores.is_floating_point(), "scores must be floating point, got {}", scores.dtype)
    return scores if scores.dtype == torch.float64 else scores.float()


def as_positives(positives: Tensor, scores: Tensor) -> Tensor:
    """Return ``positives (Q, C)`` after checking that it is a mask over ``scores``."""
    require(positives.dtype == torch.bool, "positives must be a bool mask, got {}", positives.dtype)
    same = positives.shape == scores.shape
    require(same, "positives must have the shape of scores {}, got {}", scores.shape, positives.shape)
    return positives


def as_relevance(relevance: Tensor, scores: Tensor) -> Tensor:
    """Return ``relevance (Q, C)`` in the dtype of ``scores`` after checking that it lies in [0, 1]."""
    constant = as_constant(relevance, scores)
    if relevance.numel():
        low, high = (bound.item() for bound in relevance.aminmax())
        require(low >= 0 and high <= 1, "relevance must lie in [0, 1], got values from {} to {}", low, high)
    return constant


def as_constant(relevance: Tensor, scores: Tensor) -> Tensor:
    """Return ``relevance (Q, C)`` in the dtype of ``scores``, without gradient or a look at its values."""
    same = relevance.shape == scores.shape
    require(same, "relevance must have the shape of scores {}, got {}", scores.shape, relevance.shape)
    return relevance.detach().to(scores.dtype)
