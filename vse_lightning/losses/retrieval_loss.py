"""The frame every loss shares: directions, positives, precision and reduction."""

from inspect import signature
from typing import get_args

import torch
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.functional.directions import ACROSS, WITHIN, Direction
from vse_lightning.functional.similarity import Similarity, cosine_similarity
from vse_lightning.losses._from_embeddings import terms_of_embeddings
from vse_lightning.losses._lists import Lists, checked_lists
from vse_lightning.losses._terms import Reduction, Terms, reduce_terms, require_finite
from vse_lightning.targets import RetrievalTargets


class RetrievalLoss(nn.Module):
    """A function of one query's candidate list, summed over queries and over directions.

    A subclass sets ``term`` and ``needs_relevance`` and implements :meth:`per_query`; that is a whole loss.

    Args:
        reduction: ``"mean"`` averages each direction over its terms and then the directions; ``"sum"`` adds up
            everything.
        directions: the lists it is computed on: ``"i2t"`` and ``"t2i"`` rank the other modality, ``"i2i"`` and
            ``"t2t"`` the others of the query's own, which takes embeddings (:meth:`from_embeddings`, the mixin).

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

    term: str = "relevance"
    needs_relevance: bool = False

    @typed
    def __init__(self, reduction: Reduction = "mean", directions: tuple[Direction, ...] = ACROSS) -> None:
        super().__init__()
        self.reduction: Reduction = reduction
        self.directions = _checked_directions(directions)

    def forward(self, scores: Tensor, relevance: Tensor | None = None, positives: Tensor | None = None) -> Tensor:
        """Loss of a batch, from image queries, text queries or both, as its directions say.

        Args:
            scores: ``(N, M)`` of images and texts, higher is closer.
            relevance: ``(N, M)`` numbers in [0, 1], a constant; taken as 1 at the positives. Rounding up to 1e-4
                outside is clamped; on the CPU more than that is refused.
            positives: ``(N, M)`` bool; ``None`` means the diagonal of a square matrix.

        Returns:
            A scalar, connected to ``scores`` also when no term is active.

        Raises:
            ValueError: where the shapes differ, ``positives`` is missing for a matrix that is not square, relevance is
                out of range, the loss needs relevance and there is none, or it ranks within a modality; on the CPU
                also where the value is no finite number.
        """
        directions = self.ranked_directions()
        rule = "{}: directions {} rank within a modality, which takes embeddings: call from_embeddings, got scores"
        require(set(directions) <= set(ACROSS), rule, type(self).__name__, directions)
        lists = self._checked(scores, relevance, positives)
        of_direction = {"i2t": lists, "t2i": lists.transposed()}
        terms = {direction: self.terms_of(of_direction[direction], direction) for direction in directions}
        value = torch.stack(list(reduce_terms(terms, self.reductions()).values())).sum()
        return require_finite(value, "scores", [scores])

    def from_embeddings(
        self,
        image_embeds: Tensor,
        text_embeds: Tensor,
        targets: RetrievalTargets | None = None,
        similarity: Similarity = cosine_similarity,
        gather: bool = False,
    ) -> Tensor:
        """The whole loss of a batch of embeddings, for training without Lightning's mixin.

        Args:
            image_embeds: ``(N, D)``.
            text_embeds: ``(M, D)``.
            targets: which text describes which image, and their relevance where the loss needs it; ``None`` means
                pairs: the first text describes the first image, and so on, and nothing else matches.
            similarity: makes scores ``(N, M)`` of images and texts; within a modality it gets that twice.
            gather: with several processes (``torch.distributed``), every process ranks everybody's candidates, and the
                gradients, once averaged as DistributedDataParallel does, equal those of one process on the whole
                batch. Relevance then comes from a table or from ``text_features``.

        Returns:
            A scalar, connected to the embeddings.

        Raises:
            ValueError: where embeddings and targets do not fit, or there is no relevance to be had.

        Example:
            >>> import torch
            >>> from vse_lightning import ContrastiveLoss, LadderLoss, RetrievalTargets
            >>> images, texts = torch.eye(3), torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.2], [0.1, 0.0, 1.0]])
            >>> ContrastiveLoss(temperature=1.0, learnable=False).from_embeddings(images, texts)
            tensor(0.5864)
            >>> targets = RetrievalTargets([7, 8, 9], [7, 8, 9], text_features=torch.eye(3))
            >>> LadderLoss().from_embeddings(images, texts, targets)
            tensor(0.)
        """
        known = targets is None or isinstance(targets, RetrievalTargets)
        require(known, "targets must be RetrievalTargets or None, got {}", type(targets).__name__)
        require(callable(similarity), "similarity must be a function of embeddings, got {!r}", similarity)
        require(isinstance(gather, bool), "gather must be True or False, got {!r}", gather)
        targets = RetrievalTargets(None, None) if targets is None else targets
        terms = terms_of_embeddings(self, image_embeds, text_embeds, targets, similarity, gather=gather)
        value = torch.stack(list(terms.values())).sum()
        return require_finite(value, "embeddings", [image_embeds, text_embeds])

    def query_terms(self, scores: Tensor, relevance: Tensor | None = None, positives: Tensor | None = None) -> Terms:
        """Terms of one direction, unreduced: the rows are queries, the columns their candidates.

        Args:
            scores: ``(Q, C)``; relevance and positives alike, as in :meth:`forward`.
            relevance: ``(Q, C)`` or ``None``.
            positives: ``(Q, C)`` or ``None``.

        Returns:
            ``{term: (total (Q,), count (Q,))}``. Divided by their counts, the terms add up to the loss.
        """
        return self.terms_of(self._checked(scores, relevance, positives))

    def terms_of(self, lists: Lists, direction: Direction | None = None) -> Terms:
        """As :meth:`query_terms`, of checked lists: the terms that are computed in a direction; ``None`` means all."""
        parts = self.parts_in(direction)
        if lists.scores.shape[1] == 0:  # a batch of one pair has nobody else of a kind
            return dict.fromkeys(parts, (lists.scores.sum(1), lists.positives.sum(1)))
        terms = {}
        for term, (weight, part) in parts.items():
            total, count = part.per_query(*lists)
            terms[term] = (total if weight == 1 else weight * total, count)
        return terms

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Total ``(Q,)`` and count ``(Q,)`` of each query's list.

        Args:
            scores: ``(Q, C)`` float32 or float64.
            relevance: ``(Q, C)`` of the same dtype, 1 at the positives; empty where no loss on these lists needs it.
            positives: ``(Q, C)`` bool.
        """
        raise TypeError(f"{type(self).__name__} defines no per_query(scores, relevance, positives)")

    def parts(self) -> "dict[str, tuple[float, RetrievalLoss]]":
        """The losses that make it up and their weights, by the name of their term."""
        return {self.term: (1.0, self)}

    def reductions(self) -> dict[str, Reduction]:
        """How each term of :meth:`query_terms` is reduced."""
        return {term: part.reduction for term, (_, part) in self.parts().items()}

    def parts_in(self, direction: Direction | None) -> "dict[str, tuple[float, RetrievalLoss]]":
        """The parts that are computed in a direction; ``None`` means all."""
        parts = self.parts().items()
        return {term: part for term, part in parts if direction is None or direction in part[1].directions}

    def ranked_directions(self) -> tuple[Direction, ...]:
        """The directions that some part of it is computed on."""
        return tuple(direction for direction in (*ACROSS, *WITHIN) if self.parts_in(direction))

    def needs_relevance_in(self, direction: Direction) -> bool:
        """Whether the terms that are computed in a direction read relevance."""
        return any(part.needs_relevance for _, part in self.parts_in(direction).values())

    def clamp_(self) -> None:
        """Bring learnable parameters back into their range; call it after an optimizer step."""

    def extra_repr(self) -> str:
        """Options shown by ``print``: those arguments of the class that it keeps under their names."""
        options = {name: getattr(self, name) for name in signature(type(self)).parameters if hasattr(self, name)}
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in options.items()}
        shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
        return ", ".join(f"{name}={value}" for name, value in shown.items() if not isinstance(value, nn.Module))

    def _checked(self, scores: Tensor, relevance: Tensor | None, positives: Tensor | None) -> Lists:
        return checked_lists(type(self).__name__, self.needs_relevance, scores, relevance, positives)


def _checked_directions(directions: tuple[Direction, ...]) -> tuple[Direction, ...]:
    known = get_args(Direction)
    listed = tuple(directions)
    possible = 0 < len(listed) == len(set(listed))
    require(possible, "directions must be a tuple of different ones of {}, got {!r}", ", ".join(known), directions)
    return listed
