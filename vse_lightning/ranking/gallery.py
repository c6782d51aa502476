"""The images and texts of an evaluation, each once, in an order that no process or batch can change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from vse_lightning.checks import require
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.similarity import unit_length
from vse_lightning.targets import DISTRACTOR

STATES = ("image_embeds", "text_embeds", "image_ids", "text_image_ids", "text_features", "text_ids")
State = Mapping[str, Tensor | Sequence[Tensor]]
"""What metrics have seen, under these names; the last two may be missing."""

SAME = 0.99
"""Cosine from which on two embeddings are the same: other batches and half precision change the last digits."""

_NO_IMAGE = -1


@dataclass(frozen=True)
class Gallery:
    """Images by ascending id; texts by ascending id or, without ids, by image and arrival.

    Images without a text and texts without an image are candidates, but no queries.

    Attributes:
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        image_ids: ``(N,)`` int64.
        image_of_text: ``(M,)`` int64, the row of the image that each text describes; -1 for none.
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
    def from_state(cls, state: State, partial: bool = False) -> Gallery:
        """Drop images and texts seen before, order the rest.

        Args:
            state: the lists of tensors of a :class:`~vse_lightning.metrics.RetrievalMetric`, by name.
            partial: whether more was to be seen: a text whose image is not there is taken for one without an image.

        Raises:
            ValueError: if there is nothing, if a text describes an image that is not there, if only some texts have
                ids or features, or if one id stands for two images or texts.
        """
        joined = {name: _join(state.get(name, ())) for name in STATES}
        image_embeds, text_embeds = joined["image_embeds"], joined["text_embeds"]
        image_ids, text_image_ids = joined["image_ids"], joined["text_image_ids"]
        if image_embeds is None or text_embeds is None or image_ids is None or text_image_ids is None:
            raise ValueError("there is nothing to evaluate: update saw no image or no text")
        text_ids, features = joined["text_ids"], joined["text_features"]
        for name in ("text_ids", "text_features"):
            given = joined[name]
            complete = given is None or len(given) == len(text_embeds)
            require(complete, "{} must be given for all texts or for none, got some of {}", name, len(text_embeds))
        images = first_of_each(image_ids)
        if len(images) < len(image_ids):
            _check_repeats("image", image_ids, image_embeds, images)
        image_ids = image_ids[images]
        image_of_text = _rows_of_images(text_image_ids, image_ids, partial)
        if text_ids is None:
            texts = _by_image(image_of_text)
        else:
            texts = first_of_each(text_ids)
            if len(texts) < len(text_ids):
                _check_repeats("text", text_ids, text_embeds, texts)
                _check_images_of_repeats(text_ids, text_image_ids, texts)
        return cls(
            image_embeds[images],
            text_embeds[texts],
            image_ids,
            image_of_text[texts],
            text_ids=None if text_ids is None else text_ids[texts],
            text_features=None if features is None else features[texts],
        )

    @property
    def text_image_ids(self) -> Tensor:
        """``(M,)`` the id of the image that each text describes; -1 for none."""
        return self.image_ids[self.image_of_text].where(self.image_of_text != _NO_IMAGE, DISTRACTOR)

    @cached_property
    def num_captions(self) -> Tensor:
        """``(N,)`` how many texts each image has."""
        described = self.image_of_text[self.image_of_text != _NO_IMAGE]
        return torch.bincount(described, minlength=len(self.image_ids))

    @cached_property
    def captions_of_image(self) -> Tensor:
        """Rows ``(N, K)`` of each image's texts, in order; -1 where an image has fewer than K."""
        counts = self.num_captions
        slots = torch.arange(int(counts.max()), device=counts.device)
        start = counts.cumsum(0) - counts
        places = (start[:, None] + slots).clamp(max=len(self.image_of_text) - 1)
        rows = _by_image(self.image_of_text)[places]
        return rows.where(slots < counts[:, None], -1)

    def siblings(self, direction: Direction) -> Tensor:
        """Rows ``(C, K)`` of the texts of the same image for each text, itself among them; no image has siblings."""
        if direction == "i2i":
            return self.image_ids.new_empty(len(self.image_ids), 0)
        return self.captions_of_image[self.image_of_text].where(self.image_of_text[:, None] != _NO_IMAGE, -1)

    def query_rows(self, direction: Direction) -> Tensor:
        """Rows ``(Q,)`` of the images or texts that are queries, ascending: those that belong to another."""
        is_query = self.num_captions > 0 if direction in ("i2t", "i2i") else self.image_of_text != _NO_IMAGE
        return is_query.nonzero()[:, 0]

    def lonely_images(self) -> Tensor:
        """Ids of the images without a text."""
        return self.image_ids[self.num_captions == 0]

    def sides(self, direction: Direction) -> tuple[Tensor, Tensor]:
        """The embeddings of what asks and of what is ranked."""
        of_kind = {"i": self.image_embeds, "t": self.text_embeds}
        return of_kind[direction[0]], of_kind[direction[2]]

    def texts_alone(self) -> Gallery:
        """The texts in the place of the images too: each the only text of itself."""
        own = torch.arange(len(self.text_embeds), device=self.image_ids.device)
        ids = own if self.text_ids is None else self.text_ids
        return Gallery(self.text_embeds, self.text_embeds, ids, own, self.text_ids, self.text_features)

    def first_captions(self, captions_per_image: int) -> Gallery:
        """Only the first texts of each image; those without an image stay."""
        kept = self.captions_of_image[:, :captions_per_image].flatten()
        alone = (self.image_of_text == _NO_IMAGE).nonzero()[:, 0]
        return self._select_texts(torch.cat([kept[kept >= 0], alone]).sort().values)

    def folds(self, count: int) -> Iterator[Gallery]:
        """Consecutive folds of equally many images, with their texts, and in each the texts without an image.

        Raises:
            ValueError: if the images cannot be divided.
        """
        num_images = len(self.image_ids)
        if num_images % count:
            raise ValueError(f"folds must divide the number of images, got {count} folds of {num_images} images")
        size = num_images // count
        for start in range(0, num_images, size):
            inside = (self.image_of_text >= start) & (self.image_of_text < start + size)
            fold = self._select_texts((inside | (self.image_of_text == _NO_IMAGE)).nonzero()[:, 0])
            images = slice(start, start + size)
            yield replace(
                fold,
                image_embeds=self.image_embeds[images],
                image_ids=self.image_ids[images],
                image_of_text=(fold.image_of_text - start).where(fold.image_of_text != _NO_IMAGE, _NO_IMAGE),
            )

    def _select_texts(self, rows: Tensor) -> Gallery:
        return replace(
            self,
            text_embeds=self.text_embeds[rows],
            image_of_text=self.image_of_text[rows],
            text_ids=None if self.text_ids is None else self.text_ids[rows],
            text_features=None if self.text_features is None else self.text_features[rows],
        )


def is_empty(state: State) -> bool:
    """Whether a state holds no image or no text."""
    return any(_join(state.get(name, ())) is None for name in ("image_embeds", "text_embeds"))


def _join(tensors: Tensor | Sequence[Tensor]) -> Tensor | None:
    if isinstance(tensors, Tensor):
        return tensors if len(tensors) else None
    return torch.cat(list(tensors)) if sum(map(len, tensors)) else None


def _by_image(image_of_text: Tensor) -> Tensor:
    """Rows of the texts by the row of their image and arrival, those without an image last."""
    last = torch.iinfo(image_of_text.dtype).max
    return image_of_text.masked_fill(image_of_text == _NO_IMAGE, last).argsort(stable=True)


def first_of_each(ids: Tensor) -> Tensor:
    """Rows of the first occurrence of each id, by ascending id."""
    ordered, rows = ids.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return rows[first]


def _rows_of_images(text_image_ids: Tensor, ordered: Tensor, partial: bool) -> Tensor:
    """Row of the image of each text in the ascending ids ``ordered``; -1 where it has none."""
    rows = torch.searchsorted(ordered, text_image_ids).clamp(max=len(ordered) - 1)
    none = text_image_ids == DISTRACTOR
    unseen = (ordered[rows] != text_image_ids) & ~none
    if not partial and unseen.any():
        unknown = torch.unique(text_image_ids[unseen])
        raise ValueError(
            f"text_image_ids names images that update never saw: {some_ids(unknown)}; -1 means that there is none"
        )
    return rows.masked_fill(none | unseen, _NO_IMAGE)


def _repeats(ids: Tensor, first_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose id came before, and the rows where it came first."""
    first = first_rows[torch.searchsorted(ids[first_rows], ids)]
    repeated = (first != torch.arange(len(ids), device=ids.device)).nonzero()[:, 0]
    return repeated, first[repeated]


def _check_repeats(kind: str, ids: Tensor, embeds: Tensor, first_rows: Tensor) -> None:
    """Refuse an id that came with two different embeddings: nobody could say which of them to drop."""
    for repeated, first in zip(*(torch.split(rows, 8192) for rows in _repeats(ids, first_rows)), strict=True):
        again, before = embeds[repeated], embeds[first]
        cosine = cosine_similarity(unit_length(again), unit_length(before), dim=1)
        differing = ((cosine < SAME) & (again != before).any(dim=1)).nonzero()[:, 0].tolist()
        message = (
            "{0}_ids: one id must mean one {0}, but {1} came with two different embeddings (cosine {2:.3f}), first as "
            "the {0} no. {3} of all that update saw and then as no. {4}. Do ids restart in every batch or data set? "
            "Then number them through. Is the model random, as with dropout in training mode? Then call eval()"
        )
        if differing:
            (row, *_) = differing
            numbers = int(first[row]) + 1, int(repeated[row]) + 1
            raise ValueError(message.format(kind, int(ids[repeated[row]]), float(cosine[row]), *numbers))


def _check_images_of_repeats(text_ids: Tensor, text_image_ids: Tensor, first_rows: Tensor) -> None:
    repeated, first = _repeats(text_ids, first_rows)
    moved = repeated[text_image_ids[repeated] != text_image_ids[first]][:1].tolist()
    message = (
        "text_ids: one id must mean one text of one image, but {} came with two text_image_ids. Do ids restart in "
        "every batch or data set? Then number them through. If a text describes several images: see evaluate_scores"
    )
    require(not moved, message, *text_ids[moved].tolist())


def some_ids(ids: Tensor) -> str:
    """The first five of many ids, for messages."""
    return ", ".join(map(str, ids[:5].tolist())) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
