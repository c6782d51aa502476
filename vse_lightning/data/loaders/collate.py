"""Items to a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vse_lightning.data.loaders.image_text_dataset import ImageTextItem
from vse_lightning.data.loaders.seeding import transformed
from vse_lightning.relevance import RelevanceTable


@dataclass(frozen=True)
class Collate:
    """Make the batch dict of ``N`` images and ``M`` texts, in the worker.

    Keys: ``image`` (stacked), ``text`` (what ``text`` makes of the ``M`` captions, by default the strings),
    ``image_ids (N,)``, ``text_ids (M,)``, ``text_image_ids (M,)`` and, with a table, ``relevance (N, M)``.
    """

    text: Callable[[list[str]], Any] | None = None
    relevance: RelevanceTable | None = None

    def __call__(self, items: Sequence[ImageTextItem]) -> dict[str, Any]:
        """Make one batch of the items."""
        image_ids = torch.tensor([item.image_id for item in items])
        text_ids = torch.cat([item.text_ids for item in items])
        batch = {
            "image": _stacked(items),
            "text": self._texts(items),
            "image_ids": image_ids,
            "text_ids": text_ids,
            "text_image_ids": image_ids.repeat_interleave(torch.tensor([len(item.texts) for item in items])),
        }
        if self.relevance is not None:
            batch["relevance"] = self.relevance.block(image_ids, text_ids)
        return batch

    def _texts(self, items: Sequence[ImageTextItem]) -> Any:
        texts = [text for item in items for text in item.texts]
        if self.text is None:
            return texts
        try:
            return transformed(self.text, texts, *items[0].seed)
        except Exception as error:
            rows = [row for item in items for row in item.text_ids.tolist()]
            error.add_note(_first_refused(self.text, dict(zip(rows, texts, strict=True))))
            raise


def _stacked(items: Sequence[ImageTextItem]) -> Tensor:
    image_of_shape = {tuple(item.image.shape): item.image_id for item in items}
    if len(image_of_shape) > 1:
        (shape, image_id), *_, (other_shape, other_id) = sorted(image_of_shape.items())
        raise ValueError(
            f"the images of a batch must have one size, got tensors of shape {shape} (image_id {image_id}) and "
            f"{other_shape} (image_id {other_id}): resize them, by the transforms of the data module or an image "
            "encoder that brings its own (image_transform)"
        )
    return torch.stack([item.image for item in items])


def _first_refused(text: Callable[[list[str]], Any], captions: dict[int, str]) -> str:
    """What to say of the captions that ``text`` failed on: which one fails alone."""
    for row, caption in captions.items():
        try:
            text([caption])
        except Exception:  # whatever it is, it is on its way to the user
            return f"The text transform was given caption {row}: {caption!r}"
    return f"The text transform was given {len(captions)} captions, none of which fails alone."
