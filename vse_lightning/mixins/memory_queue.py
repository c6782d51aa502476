"""Embeddings of past batches as further candidates."""

from dataclasses import replace

import torch
from torch import Tensor

from vse_lightning.targets import RetrievalTargets

Embeddings = tuple[Tensor, Tensor]


class MemoryQueue:
    """The last pairs that were embedded, without gradient; with several processes, everybody's.

    Embeddings drift slowly late in training, so that those of the last batches are still good candidates. The relevance
    of a past candidate comes from a table, by its id.

    Args:
        size: pairs kept.

    References:
        Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.pairs_seen = 0
        self._embeds: Embeddings | None = None
        self._targets: RetrievalTargets | None = None

    def behind(self, embeds: Embeddings, targets: RetrievalTargets) -> tuple[Embeddings, RetrievalTargets]:
        """The batch with the past candidates behind it, but for those of the batch's own images."""
        if self._embeds is None or self._targets is None:
            return embeds, targets
        (image_ids, text_image_ids), (past_ids, past_image_ids) = targets.known_ids(), self._targets.known_ids()
        images, texts = ~torch.isin(past_ids, image_ids), ~torch.isin(past_image_ids, image_ids)
        past_text_ids = self._targets.text_ids
        known = targets.text_ids is not None and past_text_ids is not None
        joined = replace(
            targets,
            image_ids=torch.cat([image_ids, past_ids[images]]),
            text_image_ids=torch.cat([text_image_ids, past_image_ids[texts]]),
            text_ids=torch.cat([targets.text_ids, past_text_ids[texts]]) if known else None,  # type: ignore[list-item,index]
        )
        past_images, past_texts = self._embeds[0][images].to(embeds[0]), self._embeds[1][texts].to(embeds[1])
        return (torch.cat([embeds[0], past_images]), torch.cat([embeds[1], past_texts])), joined

    def push(self, embeds: Embeddings, targets: RetrievalTargets) -> None:
        """Remember a batch and forget the oldest pairs."""
        past, known = self._embeds, self._targets
        self._embeds = (
            self._last(None if past is None else past[0], embeds[0].detach()),
            self._last(None if past is None else past[1], embeds[1].detach()),
        )
        ids = {"image_ids": targets.image_ids, "text_image_ids": targets.text_image_ids, "text_ids": targets.text_ids}
        kept = {
            name: None if new is None else self._last(None if known is None else getattr(known, name), new)
            for name, new in ids.items()
        }
        self._targets = RetrievalTargets(**kept)
        self.pairs_seen += len(embeds[0])

    def _last(self, past: Tensor | None, new: Tensor) -> Tensor:
        return (new if past is None else torch.cat([past, new]))[-self.size :]
