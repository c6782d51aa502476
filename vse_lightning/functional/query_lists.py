"""What every ranking function demands of its arguments: one row per query, one column per candidate."""

from collections.abc import Callable
from functools import wraps
from math import isnan
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from vse_lightning.argument_types import require_types
from vse_lightning.checks import require

P = ParamSpec("P")
R = TypeVar("R")


def of_lists(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse what cannot be lists of one shape, or another option than the annotations say; compiled code is trusted.

    Values are not looked at: on a GPU that would wait for them.
    """

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.compiler.is_compiling():
            given = require_types(function, *args, **kwargs)
            nan = [name for name, value in given.items() if isinstance(value, float) and isnan(value)]
            require(not nan, "{} must be a number, got nan", *nan[:1])
            if "scores" in given:
                _check_shapes(**given)
        return function(*args, **kwargs)

    return checked


def as_scores(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, after checking that they can be ranked: none is NaN."""
    scores = as_floats(scores)
    if scores.sum().isnan() and scores.isnan().any():  # a sum takes a fraction of the time
        query, candidate = scores.isnan().nonzero()[0].tolist()
        raise ValueError(f"scores must be numbers, got NaN for query {query} and candidate {candidate}")
    return scores


def as_floats(scores: Tensor) -> Tensor:
    """Return ``scores (Q, C)`` in float32 or float64, without a look at the values; half is promoted to float32."""
    _require_tensor("scores", scores)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores must be (queries, candidates) with at least one candidate, got {tuple(scores.shape)}")
    if not scores.is_floating_point():
        raise ValueError(f"scores must be floating point, got {scores.dtype}")
    return scores if scores.dtype == torch.float64 else scores.float()


def as_positives(positives: Tensor, scores: Tensor) -> Tensor:
    """Return ``positives (Q, C)`` after checking that it is a mask over ``scores``."""
    _require_tensor("positives", positives)
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
        require(low >= 0 and high <= 1, "relevance must lie in [0, 1], got values from {} to {}", low, high)
    return constant


def as_constant(relevance: Tensor, scores: Tensor) -> Tensor:
    """Return ``relevance (Q, C)`` in the dtype of ``scores``, without gradient or a look at its values."""
    _require_tensor("relevance", relevance)
    if relevance.shape != scores.shape:
        raise ValueError(f"relevance must have the shape of scores {tuple(scores.shape)}, got {tuple(relevance.shape)}")
    return relevance.detach().to(scores.dtype)


def _check_shapes(
    scores: Tensor, positives: Tensor | None = None, relevance: Tensor | None = None, **_: object
) -> None:
    scores = as_floats(scores)
    if positives is not None:
        as_positives(positives, scores)
    if relevance is not None:
        as_constant(relevance, scores)


def _require_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
