"""What every ranking function demands of its arguments: one row per query, one column per candidate."""

import torch
from torch import Tensor


def as_scores(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, after checking that they can be ranked: none is NaN."""
    scores = as_floats(scores)
    if scores.sum().isnan() and scores.isnan().any():  # a sum takes a fraction of the time
        query, candidate = scores.isnan().nonzero()[0].tolist()
        raise ValueError(f"scores must be numbers, got NaN for query {query} and candidate {candidate}")
    return scores


def as_floats(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, without a look at the values; half is promoted to float32."""
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores must be (queries, candidates) with at least one candidate, got {tuple(scores.shape)}")
    if not scores.is_floating_point():
        raise ValueError(f"scores must be floating point, got {scores.dtype}")
    return scores if scores.dtype == torch.float64 else scores.float()


def as_positives(positives: Tensor, scores: Tensor) -> Tensor:
    """Return ``positives (Q, C)`` after checking that it is a mask over ``scores``."""
    if positives.dtype != torch.bool:
        raise ValueError(f"positives must be a bool mask, got {positives.dtype}")
    if positives.shape != scores.shape:
        raise ValueError(f"positives must have the shape of scores {tuple(scores.shape)}, got {tuple(positives.shape)}")
    return positives


def as_relevance(relevance: Tensor, scores: Tensor) -> Tensor:
    """Return ``relevance (Q, C)`` in the dtype of ``scores`` after checking that it lies in [0, 1]."""
    constant = as_constant(relevance, scores)
    if relevance.numel():
        low, high = (bound.item() for bound in relevance.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"relevance must lie in [0, 1], got values from {low} to {high}")
    return constant


def as_constant(relevance: Tensor, scores: Tensor) -> Tensor:
    """Return ``relevance (Q, C)`` in the dtype of ``scores``, without gradient or a look at its values."""
    if relevance.shape != scores.shape:
        raise ValueError(f"relevance must have the shape of scores {tuple(scores.shape)}, got {tuple(relevance.shape)}")
    return relevance.detach().to(scores.dtype)
