"""The frame every loss shares: both directions, positives, precision and reduction."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vse_lightning.checks import require

Terms = dict[str, tuple[Tensor, Tensor]]
"""Per term of a loss: its total ``(Q,)`` and count ``(Q,)`` for every query."""

Reduction = Literal["mean", "sum"]


class RetrievalLoss(nn.Module):
    """A function of one query's candidate list, summed over queries and over both directions.

    A subclass sets ``term`` and ``needs_relevance`` and implements :meth:`per_query`; that is a whole loss.

    Args:
        reduction: ``"mean"`` averages each direction over its terms and then the two directions; ``"sum"`` adds up
            everything.

    Example:
        >>> import torch
        >>> class Spread(RetrievalLoss):
        ...     '''Wishes for equal scores.'''
        ...     term = "spread"
        ...     def per_query(self, scores, relevance, positives):
        ...         return scores.std(1), torch.ones(len(scores))
        >>> Spread()(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(0.7071)
    """

    term: str = "loss"
    needs_relevance: bool = False

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        require(reduction in ("mean", "sum"), "reduction must be 'mean' or 'sum', got {!r}", reduction)
        self.reduction: Reduction = reduction

    def forward(self, scores: Tensor, relevance: Tensor | None = None, positives: Tensor | None = None) -> Tensor:
        """Loss of a batch, both directions.

        Args:
            scores: ``(N, M)`` of images and texts, higher is closer.
            relevance: ``(N, M)`` in [0, 1]; taken as 1 at the positives.
            positives: ``(N, M)`` bool; ``None`` means the diagonal of a square matrix.

        Returns:
            A scalar, connected to ``scores`` also when no term is active.

        Raises:
            ValueError: where the shapes differ, ``positives`` is missing for a matrix that is not square, or the loss
                needs relevance and there is none.
        """
        scores = full_precision(scores)  # once, so that the gradients of both directions add up in it
        i2t = self.query_terms(scores, relevance, positives)
        t2i = self.query_terms(scores.T, _transposed(relevance), _transposed(positives))
        return torch.stack(list(reduce_terms(i2t, t2i, self.reductions()).values())).sum()

    def query_terms(self, scores: Tensor, relevance: Tensor | None = None, positives: Tensor | None = None) -> Terms:
        """Terms of one direction, unreduced: the rows are queries, the columns their candidates.

        Args:
            scores: ``(Q, C)``; relevance and positives alike, as in :meth:`forward`.
            relevance: ``(Q, C)`` or ``None``.
            positives: ``(Q, C)`` or ``None``.

        Returns:
            ``{term: (total (Q,), count (Q,))}``. Divided by their counts, the terms add up to the loss.
        """
        return {self.term: self.per_query(*self.lists(scores, relevance, positives))}

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Total ``(Q,)`` and count ``(Q,)`` of each query's list.

        Args:
            scores: ``(Q, C)`` float32 or float64.
            relevance: ``(Q, C)`` of the same dtype, 1 at the positives; empty if the loss does not need it.
            positives: ``(Q, C)`` bool.
        """
        raise TypeError(f"{type(self).__name__} defines no per_query(scores, relevance, positives)")

    def reductions(self) -> dict[str, Reduction]:
        """How each term of :meth:`query_terms` is reduced."""
        return {self.term: self.reduction}

    def clamp_(self) -> None:
        """Bring learnable parameters back into their range; call it after an optimizer step."""

    def lists(
        self, scores: Tensor, relevance: Tensor | None, positives: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Checked inputs in full precision, with the default positives and relevance 1 at the positives."""
        name = type(self).__name__
        require(scores.ndim == 2, "{}: scores must be a matrix (queries, candidates), got shape {}", name, scores.shape)
        require(scores.shape[1] > 0, "{}: scores must have candidates, got shape {}", name, scores.shape)
        scores = full_precision(scores)
        if positives is None:
            square = scores.shape[0] == scores.shape[1]
            require(square, "{}: positives are needed when scores are not square, got shape {}", name, scores.shape)
            positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        _check_like("positives", positives, scores, name)
        require(positives.dtype == torch.bool, "{}: positives must be bool, got {}", name, positives.dtype)
        if not self.needs_relevance:
            return scores, scores.new_empty(0), positives
        if relevance is None:
            raise ValueError(
                f"{name} needs relevance (N, M) in [0, 1] and got none: give the data module a source of labels "
                "(relevance=SBERTRelevance(...)), return it from targets(batch), or pass it to the loss"
            )
        _check_like("relevance", relevance, scores, name)
        return scores, relevance.to(scores.dtype).masked_fill(positives, 1), positives


def full_precision(scores: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def reduce_terms(
    i2t: Terms,
    t2i: Terms,
    reductions: Mapping[str, Reduction],
    total_count: Callable[[Tensor], Tensor] = torch.Tensor.sum,
) -> dict[str, Tensor]:
    """Value of each term over both directions.

    Args:
        i2t: terms of the image queries.
        t2i: terms of the text queries.
        reductions: as of :meth:`RetrievalLoss.reductions`.
        total_count: sum of the counts ``(Q,)``; across processes, of everybody's.

    Returns:
        ``{term: scalar}``.
    """
    values = {}
    for term, reduction in reductions.items():
        directions = torch.stack([i2t[term][0].sum(), t2i[term][0].sum()])
        if reduction == "mean":
            counts = torch.stack([total_count(i2t[term][1]), total_count(t2i[term][1])])
            directions = directions / counts.clamp(min=1) / 2
        values[term] = directions.sum()
    return values


def _transposed(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.T


def _check_like(argument: str, matrix: Tensor, scores: Tensor, name: str) -> None:
    same = matrix.shape == scores.shape
    require(same, "{}: {} must have the shape of scores {}, got {}", name, argument, scores.shape, matrix.shape)
