"""From embeddings to the terms of a loss: who asks, who is ranked, and what the other processes have."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.distributed import gather_rows, own_rows, process_count
from vse_lightning.functional.directions import ACROSS, WITHIN, Direction
from vse_lightning.functional.similarity import Similarity, cosine_similarity
from vse_lightning.losses._lists import Lists, check_relevance, checked_lists
from vse_lightning.losses._terms import Reduction, Terms, reduce_terms
from vse_lightning.targets import DISTRACTOR, LabelTable, RetrievalTargets


class _Loss(Protocol):
    """What is asked of a :class:`~vse_lightning.losses.RetrievalLoss`."""

    def ranked_directions(self) -> tuple[Direction, ...]: ...
    def needs_relevance_in(self, direction: Direction) -> bool: ...
    def terms_of(self, lists: Lists, direction: Direction) -> Terms: ...
    def reductions(self) -> dict[str, Reduction]: ...


class Candidates(NamedTuple):
    """Everything that is ranked: ``(N, D)`` and ``(M, D)`` embeddings with their targets, resolved."""

    image_embeds: Tensor
    text_embeds: Tensor
    targets: RetrievalTargets


def terms_of_embeddings(
    loss: _Loss,
    image_embeds: Tensor,
    text_embeds: Tensor,
    targets: RetrievalTargets,
    similarity: Similarity = cosine_similarity,
    *,
    gather: bool = False,
    beyond: Callable[[Candidates], Candidates] | None = None,
    table: LabelTable | None = None,
    check_labels: bool = False,
) -> dict[str, Tensor]:
    """Value of each term of a loss on a batch of embeddings.

    With several processes and ``gather``, each ranks everybody's candidates for its own queries (local images x all
    texts, local texts x all images) and counts are summed over the processes: the mean of a term over the processes is
    that of the whole batch, and so are the gradients once they are averaged.

    Targets are resolved here, unless they are already. ``beyond`` gets everybody's batch and returns it with further
    candidates behind it, which are no queries. The ``table`` has labels for what the targets do not reach: the texts of
    other processes where they hold a block, candidates beyond the batch, others of the query's kind. ``check_labels``
    checks the range of the relevance on a GPU too, which waits for it; on the CPU it always is.
    """
    for name, kind, embeds in (("image_embeds", "images", image_embeds), ("text_embeds", "texts", text_embeds)):
        require(isinstance(embeds, Tensor), "{} must be a tensor, got {}", name, type(embeds).__name__)
        matrix = embeds.ndim == 2 and embeds.is_floating_point()
        rule = "{} must be a floating point matrix ({}, dimensions), got {} of shape {}"
        require(matrix, rule, name, kind, embeds.dtype, embeds.shape)
    dtype = torch.promote_types(image_embeds.dtype, text_embeds.dtype)
    image_embeds, text_embeds = image_embeds.to(dtype), text_embeds.to(dtype)
    gathered = gather and process_count() > 1
    alone = not gathered and beyond is None
    targets = _labelled(loss, targets.resolve(image_embeds, text_embeds), alone, beyond is None, table)
    everybody = Candidates(image_embeds, text_embeds, targets)
    images, texts = slice(0, len(image_embeds)), slice(0, len(text_embeds))
    if gathered:
        images, texts = own_rows(image_embeds), own_rows(text_embeds)
        everybody = Candidates(gather_rows(image_embeds), gather_rows(text_embeds), targets.gathered())
    if beyond is not None:
        everybody = beyond(everybody)
        everybody.targets.resolve(everybody.image_embeds, everybody.text_embeds)
    ranked = _Ranked(loss, everybody, images, texts, similarity, check_labels)
    lists = ranked.across(alone) | ranked.within()
    terms = {direction: ranked.terms(direction, lists[direction]) for direction in loss.ranked_directions()}
    return reduce_terms(terms, loss.reductions(), gathered)


def _labelled(
    loss: _Loss, targets: RetrievalTargets, alone: bool, batch_only: bool, table: LabelTable | None
) -> RetrievalTargets:
    """The targets with labels that reach every candidate, and with none that the loss does not need."""
    if not any(loss.needs_relevance_in(direction) for direction in loss.ranked_directions()):
        return replace(targets, relevance=None, text_features=None)
    block = targets.relevance
    within = any(loss.needs_relevance_in(direction) for direction in WITHIN)
    if isinstance(block, LabelTable) or (block is not None and alone and not within):
        return targets
    if targets.text_features is not None and batch_only:
        return targets if alone else replace(targets, relevance=None)
    if table is None and not (block is None and targets.text_features is None):
        raise ValueError(
            "a batch's own labels reach neither the texts of other processes or past batches nor others of the query's "
            "kind (text_features reach all but past batches): name a table and text_ids in RetrievalTargets, or rank "
            "the batch alone"
        )
    return replace(targets, relevance=table)


class _Ranked(NamedTuple):
    """All candidates, and which of them this process asks with."""

    loss: _Loss
    everybody: Candidates
    images: slice
    texts: slice
    similarity: Similarity
    check_labels: bool

    def across(self, alone: bool) -> dict[Direction, Lists]:
        """Lists of the other modality; one product serves both directions where all candidates are queries."""
        wanted = [direction for direction in ACROSS if direction in self.loss.ranked_directions()]
        if alone and wanted:
            pairs = self._pairs(slice(None), slice(None), wanted)
            return {"i2t": pairs, "t2i": pairs.transposed()}
        lists: dict[Direction, Lists] = {}
        if "i2t" in wanted:
            lists["i2t"] = self._pairs(self.images, slice(None), ["i2t"])
        if "t2i" in wanted:
            lists["t2i"] = self._pairs(slice(None), self.texts, ["t2i"]).transposed()
        return lists

    def within(self) -> dict[Direction, Lists]:
        """Lists of all others of the query's kind."""
        targets, lists = self.everybody.targets, {}
        for direction in WITHIN:
            if direction in self.loss.ranked_directions():
                embeds, queries = self.everybody.image_embeds, self.images
                if direction == "t2t":
                    embeds, queries = self.everybody.text_embeds, self.texts
                graded = self.loss.needs_relevance_in(direction)
                relevance = targets.relevance_within(direction, queries) if graded else None
                matches = targets.matches_within(direction, queries)
                whole = self._lists(embeds[queries], embeds, relevance, matches, graded)
                lists[direction] = Lists(*(_others(matrix, queries.start) for matrix in whole))
        return lists

    def terms(self, direction: Direction, lists: Lists) -> Terms:
        """Terms of this process's queries. A text that describes no image is a candidate, but asks nothing."""
        terms = self.loss.terms_of(lists, direction)
        if direction in ("i2t", "i2i"):
            return terms
        asks = self.everybody.targets.known_ids()[1][self.texts] != DISTRACTOR
        return {term: (torch.where(asks, total, 0), count * asks) for term, (total, count) in terms.items()}

    def _pairs(self, images: slice, texts: slice, directions: Sequence[Direction]) -> Lists:
        image_embeds, text_embeds, targets = self.everybody
        graded = any(self.loss.needs_relevance_in(direction) for direction in directions)
        relevance = targets.relevance_between(images, texts) if graded else None
        matches = targets.positives(images, texts)
        return self._lists(image_embeds[images], text_embeds[texts], relevance, matches, graded)

    def _lists(
        self, queries: Tensor, candidates: Tensor, relevance: Tensor | None, positives: Tensor, graded: bool
    ) -> Lists:
        scores = self.similarity(queries, candidates)
        shape = (len(queries), len(candidates))
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        require(found == shape, "similarity must return scores of shape {}, got {}", shape, found)
        if relevance is not None:
            if self.check_labels:
                check_relevance(relevance, type(self.loss).__name__)
            relevance = relevance.to(scores.device)
        return checked_lists(type(self.loss).__name__, graded, scores, relevance, positives)


def _others(matrix: Tensor, first: int) -> Tensor:
    """The lists ``(Q, C)`` without the queries themselves, which are the candidates from ``first`` on."""
    if matrix.numel() == 0:  # relevance that nobody needs
        return matrix
    places = torch.arange(matrix.shape[1] - 1, device=matrix.device)
    own = first + torch.arange(len(matrix), device=matrix.device)[:, None]
    return matrix.gather(1, places + (places >= own))
