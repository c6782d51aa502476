"""Scores of all pairs of a gallery, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from vse_lightning.functional.similarity import Similarity

Block = tuple[int, int]


class PairScores:
    """Scores every distinct image with every distinct text exactly once.

    A matrix product may round the same dot product differently in another place of the matrix, or in a matrix of
    another shape. Copies of a picture or a caption tie nevertheless, because their scores are copied too.

    Args:
        similarity: maps ``(N, D)`` and ``(M, D)`` to scores ``(N, M)``.
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        rows_per_block: distinct images that are scored at a time; blocks are of even size, never a small rest.
        workers: how many processes share the blocks.
    """

    def __init__(
        self,
        similarity: Similarity,
        image_embeds: Tensor,
        text_embeds: Tensor,
        rows_per_block: int,
        workers: int = 1,
    ) -> None:
        self._similarity = similarity
        self._images, self._distinct_image = _distinct(image_embeds)
        self._texts, self._distinct_text = _distinct(text_embeds)
        self._rows_per_block = rows_per_block
        total = len(self._images)
        count = min(max(workers, -(-total // rows_per_block)), max(1, total // 64))
        bounds = [total * block // count for block in range(count + 1)]
        self.blocks: list[Block] = list(pairwise(bounds))

    def images(self, block: Block) -> Tensor:
        """Rows of all images of a block, copies included, ascending."""
        return ((self._distinct_image >= block[0]) & (self._distinct_image < block[1])).nonzero()[:, 0]

    def score(self, block: Block) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows ``(B,)`` of images of a block, ascending, with their scores ``(B, M)``.

        Raises:
            ValueError: if the similarity returns another shape, or NaN.
        """
        scores = self._score(self._images[slice(*block)], self._texts)
        if len(self._texts) < len(self._distinct_text):
            scores = scores[:, self._distinct_text]
        if len(self._images) == len(self._distinct_image):
            yield torch.arange(*block, device=scores.device), scores
            return
        rows = self.images(block)
        for some in torch.split(rows, self._rows_per_block):
            yield some, scores[self._distinct_image[some] - block[0]]

    def score_pairs(self, rows: Tensor, texts: Tensor) -> Tensor:
        """Scores ``(P,)`` of the images ``rows (P,)`` with ``texts (P,)``: those of :meth:`score` up to rounding."""
        images, image = torch.unique(self._distinct_image[rows], return_inverse=True)
        columns, column = torch.unique(self._distinct_text[texts], return_inverse=True)
        return self._score(self._images[images], self._texts[columns])[image, column]

    def _score(self, images: Tensor, texts: Tensor) -> Tensor:
        scores = self._similarity(images, texts)
        if scores.shape != (len(images), len(texts)):
            raise ValueError(
                f"similarity must return scores of shape {(len(images), len(texts))}, got {tuple(scores.shape)}"
            )
        if scores.sum().isnan():
            raise ValueError("similarity returned NaN")
        return scores if scores.dtype == torch.float64 else scores.float()


def _distinct(embeds: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows in order of first appearance, and for each row which of them it is."""
    rows = torch.arange(len(embeds), device=embeds.device)
    distinct, index = torch.unique(embeds, dim=0, return_inverse=True)
    if len(distinct) == len(embeds):
        return embeds, rows
    first = rows.new_full((len(distinct),), len(embeds)).scatter_reduce(0, index, rows, "amin")
    order = first.argsort()
    return embeds[first[order]], order.argsort()[index]
