"""Items to a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vse_lightning.data.dataset import Item
from vse_lightning.relevance import RelevanceTable


@dataclass(frozen=True)
class Collate:
    """Make the batch dict of ``N`` images and ``M`` texts, in the worker.

    Keys: ``image`` (stacked), ``text`` (what ``text`` makes of the ``M`` captions), ``image_ids (N,)``,
    ``text_ids (M,)``, ``text_image_ids (M,)`` and, with a table, ``relevance (N, M)``.

    Args:
        text: tokenises and pads a list of strings; None leaves the strings.
        relevance: labels of the training captions.
    """

    text: Callable[[list[str]], Any] | None = None
    relevance: RelevanceTable | None = None

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Make one batch of the items."""
        image_ids = torch.tensor([item.image_id for item in items])
        text_ids = torch.cat([item.text_ids for item in items])
        texts = [text for item in items for text in item.texts]
        batch = {
            "image": _stacked([item.image for item in items]),
            "text": texts if self.text is None else self.text(texts),
            "image_ids": image_ids,
            "text_ids": text_ids,
            "text_image_ids": image_ids.repeat_interleave(torch.tensor([len(item.texts) for item in items])),
        }
        if self.relevance is not None:
            batch["relevance"] = self.relevance.block(image_ids, text_ids)
        return batch


def _stacked(images: Sequence[Tensor]) -> Tensor:
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise ValueError(
            f"the images of a batch must have one size, got tensors of shape {shapes[0]} and {shapes[-1]}: resize "
            "them, by the transforms of the data module or an image encoder that brings its own (image_transform)"
        )
    return torch.stack(list(images))
