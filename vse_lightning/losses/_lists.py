"""Candidate lists as a loss gets them: checked, in full precision, with labels that are constants."""

from typing import NamedTuple

import torch
from torch import Tensor

from vse_lightning.checks import require

_ROUNDING = 1e-4
_HINT = "; two matrices of embeddings go to from_embeddings(image_embeds, text_embeds)"


class Lists(NamedTuple):
    """One row per query, one column per candidate ``(Q, C)``."""

    scores: Tensor  # float32 or float64
    relevance: Tensor  # of the same dtype, in [0, 1] and 1 at the positives; empty where no loss needs it
    positives: Tensor  # bool

    def transposed(self) -> "Lists":
        """The candidates as queries."""
        return Lists(self.scores.T, self.relevance.T, self.positives.T)


def checked_lists(
    loss: str, needs_relevance: bool, scores: Tensor, relevance: Tensor | None, positives: Tensor | None
) -> Lists:
    """Lists of what somebody handed to a loss, whose name messages begin with; half precision becomes float32.

    The relevance is checked also where it is not needed: its range on the CPU (:func:`check_relevance`, which on a GPU
    would wait for it). No ``positives`` mean the diagonal of a square matrix.
    """
    require(isinstance(scores, Tensor), "{}: scores must be a tensor, got {}", loss, type(scores).__name__)
    require(scores.ndim == 2, "{}: scores must be a matrix (queries, candidates), got shape {}", loss, scores.shape)
    require(scores.shape[1] > 0, "{}: scores must have candidates, got shape {}", loss, scores.shape)
    require(scores.is_floating_point(), "{}: scores must be floating point, got {}", loss, scores.dtype)
    if relevance is not None:
        _check_labels(loss, relevance, scores)
    if positives is None:
        square = scores.shape[0] == scores.shape[1]
        hint = "" if relevance is None else _HINT
        rule = "{}: positives are needed when scores are not square, got shape {}{}"
        require(square, rule, loss, scores.shape, hint)
        positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    _check_matrix(loss, "positives", positives, scores)
    require(positives.dtype == torch.bool, "{}: positives must be bool, got {}", loss, positives.dtype)
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if not needs_relevance:
        return Lists(scores, scores.new_empty(0, 0), positives)
    if relevance is None:
        raise ValueError(
            f"{loss} needs relevance (N, M) in [0, 1] and got none: give the data module a source of labels "
            "(relevance=SBERTRelevance(...)), name it in RetrievalTargets(..., relevance=), or pass it to the loss"
        )
    labels = relevance.detach().to(scores.dtype).clamp(0, 1).masked_fill_(positives, 1)
    return Lists(scores, labels, positives)


def check_relevance(relevance: Tensor, loss: str = "", hint: str = "") -> None:
    """Refuse relevance, of any shape, that is not finite or outside [0, 1] by more than rounding (1e-4).

    On a GPU this waits for the values: to be asked once, not in every step.

    Example:
        >>> check_relevance(torch.tensor([[1.0, -0.2]]))
        Traceback (most recent call last):
            ...
        ValueError: relevance must be finite and lie in [0, 1], got values from -0.2 to 1
    """
    if relevance.numel() == 0:
        return
    low, high = (float(bound) for bound in relevance.detach().aminmax())
    inside = low >= -_ROUNDING and high <= 1 + _ROUNDING  # false for NaN, which aminmax hands on
    rule = "{}relevance must be finite and lie in [0, 1], got values from {:.4g} to {:.4g}{}"
    require(inside, rule, f"{loss}: " if loss else "", low, high, hint)


def _check_labels(loss: str, relevance: Tensor, scores: Tensor) -> None:
    _check_matrix(loss, "relevance", relevance, scores)
    rule = "{}: relevance must be numbers in [0, 1], got {}: matches are the argument positives"
    require(relevance.dtype != torch.bool, rule, loss, relevance.dtype)
    if relevance.device.type == "cpu" and not torch.compiler.is_compiling():
        check_relevance(relevance, loss, _HINT)


def _check_matrix(loss: str, argument: str, matrix: Tensor, scores: Tensor) -> None:
    require(isinstance(matrix, Tensor), "{}: {} must be a tensor, got {}", loss, argument, type(matrix).__name__)
    same, device = matrix.shape == scores.shape, scores.device
    hint = _HINT if argument == "relevance" and matrix.shape[1:] == scores.shape[1:] else ""
    rule = "{}: {} must have the shape of scores {}, got {}{}"
    require(same, rule, loss, argument, scores.shape, matrix.shape, hint)
    require(matrix.device == device, "{}: {} must be on {} as scores, got {}", loss, argument, device, matrix.device)
