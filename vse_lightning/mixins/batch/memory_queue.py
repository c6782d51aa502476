"""Embeddings of past batches as further candidates."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vse_lightning.losses._from_embeddings import Candidates

_ROWS_OF_IMAGES, _ROWS_OF_TEXTS = ("image_embeds", "image_ids"), ("text_embeds", "text_image_ids", "text_ids")


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
        self._past: dict[str, Tensor | None] = {}

    def __call__(self, batch: Candidates) -> Candidates:
        """The batch with the past candidates behind it, but for those of the batch's own images; then it is past."""
        image_embeds, text_embeds, targets = batch
        image_ids, text_image_ids = targets.known_ids()
        new: dict[str, Tensor | None] = {
            "image_embeds": image_embeds,
            "text_embeds": text_embeds,
            "image_ids": image_ids,
            "text_image_ids": text_image_ids,
            "text_ids": targets.text_ids,
        }
        past = self._past or {name: None if rows is None else rows[:0].detach() for name, rows in new.items()}
        # a checkpoint brings them on the CPU
        past = {name: None if rows is None else rows.to(image_embeds.device) for name, rows in past.items()}
        others = {
            name: ~torch.isin(past[ids], image_ids)  # type: ignore[arg-type]
            for names, ids in ((_ROWS_OF_IMAGES, "image_ids"), (_ROWS_OF_TEXTS, "text_image_ids"))
            for name in names
        }
        joined = {name: _joined(rows, past[name], others[name]) for name, rows in new.items()}
        kept = {name: _joined(past[name], rows, slice(None)) for name, rows in new.items()}
        self._past = {name: None if rows is None else rows[-self.size :].detach() for name, rows in kept.items()}
        self.pairs_seen += len(image_embeds)
        embeds = joined.pop("image_embeds"), joined.pop("text_embeds")
        return Candidates(*embeds, replace(targets, **joined))  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """The past pairs, and how many there were."""
        return {"pairs_seen": self.pairs_seen, "past": self._past}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.pairs_seen, self._past = state["pairs_seen"], dict(state["past"])


def _joined(first: Tensor | None, second: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second[rows].to(first)])
