"""The images and texts of an evaluation, each once, in an order that no process or batch can change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vse_lightning.metrics.state import STATES

State = Mapping[str, Tensor | Sequence[Tensor]]


@dataclass(frozen=True)
class Gallery:
    """Images by ascending id; texts by ascending id or, without ids, by image and arrival.

    Attributes:
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        image_ids: ``(N,)`` int64.
        image_of_text: ``(M,)`` int64, the row of the image that each text describes.
        text_ids: ``(M,)`` int64, if given.
        text_features: ``(M, F)``, if given.
    """

    image_embeds: Tensor
    text_embeds: Tensor
    image_ids: Tensor
    image_of_text: Tensor
    text_ids: Tensor | None = None
    text_features: Tensor | None = None

    @classmethod
    def from_state(cls, state: State) -> Gallery:
        """Drop images and texts seen before, order the rest.

        Args:
            state: the lists of tensors of a :class:`~vse_lightning.metrics.RetrievalMetric`, by name.

        Raises:
            ValueError: if there is nothing, if a text describes no image, if an image has no text, or if only some
                texts have ids or features.
        """
        joined = {name: _join(state.get(name, ())) for name in STATES}
        image_embeds, text_embeds = joined["image_embeds"], joined["text_embeds"]
        image_ids, text_image_ids = joined["image_ids"], joined["text_image_ids"]
        if image_embeds is None or text_embeds is None or image_ids is None or text_image_ids is None:
            raise ValueError("there is nothing to evaluate: update saw no image or no text")
        for name in ("text_ids", "text_features"):
            given = joined[name]
            if given is not None and len(given) != len(text_embeds):
                raise ValueError(f"{name} must be given for all texts or for none: {len(given)} of {len(text_embeds)}")
        images = first_of_each(image_ids)
        image_ids = image_ids[images]
        image_of_text = rows_of(text_image_ids, image_ids)
        text_ids = joined["text_ids"]
        texts = image_of_text.argsort(stable=True) if text_ids is None else first_of_each(text_ids)
        gallery = cls(image_embeds[images], text_embeds[texts], image_ids, image_of_text[texts])
        features = joined["text_features"]
        gallery = replace(
            gallery,
            text_ids=None if text_ids is None else text_ids[texts],
            text_features=None if features is None else features[texts],
        )
        lonely = gallery.image_ids[gallery._num_captions == 0]
        if len(lonely):
            raise ValueError(f"every image needs a text, but update saw none of the images {_some(lonely)}")
        return gallery

    @cached_property
    def captions_of_image(self) -> Tensor:
        """Rows ``(N, K)`` of each image's texts, in order; -1 where an image has fewer than K."""
        counts = self._num_captions
        slots = torch.arange(int(counts.max()), device=counts.device)
        start = counts.cumsum(0) - counts
        places = (start[:, None] + slots).clamp(max=len(self.image_of_text) - 1)
        rows = self.image_of_text.argsort(stable=True)[places]
        return rows.where(slots < counts[:, None], -1)

    def first_captions(self, captions_per_image: int) -> Gallery:
        """Only the first texts of each image."""
        kept = self.captions_of_image[:, :captions_per_image].flatten()
        return self._select_texts(kept[kept >= 0].sort().values)

    def folds(self, count: int) -> Iterator[Gallery]:
        """Consecutive folds of equally many images, with their texts.

        Raises:
            ValueError: if the images cannot be divided.
        """
        num_images = len(self.image_ids)
        if num_images % count:
            raise ValueError(f"folds must divide the number of images, got {count} folds of {num_images} images")
        size = num_images // count
        for start in range(0, num_images, size):
            inside = (self.image_of_text >= start) & (self.image_of_text < start + size)
            fold = self._select_texts(inside.nonzero()[:, 0])
            images = slice(start, start + size)
            yield replace(
                fold,
                image_embeds=self.image_embeds[images],
                image_ids=self.image_ids[images],
                image_of_text=fold.image_of_text - start,
            )

    @property
    def _num_captions(self) -> Tensor:
        return torch.bincount(self.image_of_text, minlength=len(self.image_ids))

    def _select_texts(self, rows: Tensor) -> Gallery:
        return replace(
            self,
            text_embeds=self.text_embeds[rows],
            image_of_text=self.image_of_text[rows],
            text_ids=None if self.text_ids is None else self.text_ids[rows],
            text_features=None if self.text_features is None else self.text_features[rows],
        )


def _join(tensors: Tensor | Sequence[Tensor]) -> Tensor | None:
    if isinstance(tensors, Tensor):
        return tensors if len(tensors) else None
    return torch.cat(list(tensors)) if sum(map(len, tensors)) else None


def first_of_each(ids: Tensor) -> Tensor:
    """Rows of the first occurrence of each id, by ascending id."""
    ordered, rows = ids.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return rows[first]


def rows_of(ids: Tensor, ordered: Tensor) -> Tensor:
    """Row of each of ``ids`` in the ascending ``ordered``."""
    rows = torch.searchsorted(ordered, ids).clamp(max=len(ordered) - 1)
    unknown = ids[ordered[rows] != ids]
    if len(unknown):
        raise ValueError(f"text_image_ids names images that update never saw: {_some(torch.unique(unknown))}")
    return rows


def _some(ids: Tensor) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
