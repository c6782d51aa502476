"""What a batch says about its pictures and texts, besides the pictures and texts."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.checks import require
from vse_lightning.functional.similarity import caption_relevance
from vse_lightning.mixins.gathering import gather_rows


@runtime_checkable
class Table(Protocol):
    """Anything that grades images against texts by their ids, as a ``RelevanceTable`` does."""

    def block(self, image_ids: Tensor, text_ids: Tensor) -> Tensor:
        """Relevance ``(N, M)`` in [0, 1]."""


@dataclass
class RetrievalTargets:
    """Ids of a batch and, where there are labels, its relevance.

    Args:
        image_ids: ``(N,)`` int64.
        text_ids: ``(M,)`` int64, or ``None``.
        text_image_ids: ``(M,)`` int64: the image that each text describes.
        relevance: the batch's block ``(N, M)`` in [0, 1], or a ``RelevanceTable`` to look it up in.
        text_features: ``(M, F)`` sentence embeddings to derive relevance from.
    """

    image_ids: Tensor
    text_ids: Tensor | None
    text_image_ids: Tensor
    relevance: Tensor | Table | None = None
    text_features: Tensor | None = None

    def positives(self) -> Tensor:
        """``(N, M)`` bool: the texts that describe an image."""
        return self.image_ids[:, None] == self.text_image_ids[None, :]

    def relevance_between(self, images: slice, texts: slice) -> Tensor | None:
        """Relevance of some images to some texts, or ``None`` where there are no labels.

        Raises:
            ValueError: where a table is to be asked and there are no ``text_ids``.
        """
        if isinstance(self.relevance, Tensor):
            return self.relevance[images, texts]
        if self.relevance is not None:
            if self.text_ids is None:
                raise ValueError("targets: text_ids are needed to look relevance up in a table, got None")
            return self.relevance.block(self.image_ids[images], self.text_ids[texts])
        if self.text_features is not None:
            return _relevance_of_features(self, images, texts)
        return None

    def check(self, image_embeds: Tensor, text_embeds: Tensor) -> "RetrievalTargets":
        """Raise a ``ValueError`` unless there is one id per embedding."""
        for name, ids, embeds in (
            ("image_ids", self.image_ids, image_embeds),
            ("text_image_ids", self.text_image_ids, text_embeds),
            ("text_ids", self.text_ids, text_embeds),
            ("text_features", self.text_features, text_embeds),
        ):
            if ids is not None:
                fits = len(ids) == len(embeds)
                require(fits, "targets: {} must have one entry per embedding, {}, got {}", name, len(embeds), len(ids))
        return self


def gather_targets(targets: RetrievalTargets) -> RetrievalTargets:
    """Targets of all processes; a table stays what it is."""
    return RetrievalTargets(
        gather_rows(targets.image_ids),
        None if targets.text_ids is None else gather_rows(targets.text_ids),
        gather_rows(targets.text_image_ids),
        targets.relevance,
        None if targets.text_features is None else gather_rows(targets.text_features),
    )


def _relevance_of_features(targets: RetrievalTargets, images: slice, texts: slice) -> Tensor:
    """The best similarity between a text and the captions that the images have among the targets."""
    features = normalize(targets.text_features.float(), dim=1)  # type: ignore[union-attr]
    own = targets.positives()[images].int()
    captions = own.sum(1)
    complete = bool(captions.all())
    require(
        complete,
        "text_features: every image needs a text of its own in the batch, image ids {} have none",
        targets.image_ids[images][captions == 0].tolist()[:5],
    )
    rows = own.topk(int(captions.max()), dim=1)
    rows_of_image = torch.where(rows.values.bool(), rows.indices, rows.indices[:, :1])
    return caption_relevance(features, rows_of_image, features[texts])
