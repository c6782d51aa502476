"""Relevance by several sources at once."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.relevance._caption_index import device_of
from vse_lightning.relevance.relevance_source import RelevanceSource
from vse_lightning.relevance.relevance_table import RelevanceTable
from vse_lightning.targets import Ids


class CaptionEnsemble(RelevanceSource):
    """Weighted mean of several sources, such as meaning and wording.

    Args:
        sources: the sources.
        weights: a positive weight for each; they are divided by their sum.

    Raises:
        ValueError: if there is no source, or the weights are not as many, positive and finite.
    """

    @typed
    def __init__(self, sources: list[RelevanceSource], weights: list[float]) -> None:
        for source in sources:
            is_source = isinstance(source, RelevanceSource)
            require(is_source, "every entry of sources must be a RelevanceSource, got {!r}", source)
        message = "sources and weights must be as many, at least one, got {} sources and weights {}"
        require(0 < len(sources) == len(weights), message, len(sources), weights)
        positive = all(weight > 0 and math.isfinite(weight) for weight in weights)
        require(positive, "weights must be positive and finite, got {}", weights)
        self.sources = sources
        self.weights = [weight / sum(weights) for weight in weights]
        terms = zip(sources, self.weights, strict=True)
        self.name = " + ".join(f"{weight:.2g} {source.name}" for source, weight in terms)

    @property
    def cache_dir(self) -> str | Path | None:
        """The cache folder of the sources; setting it sets theirs."""
        return self.sources[0].cache_dir

    @cache_dir.setter
    def cache_dir(self, folder: str | Path | None) -> None:
        for source in self.sources:
            source.cache_dir = folder

    def check_size(self, num_captions: int, num_images: int) -> None:
        """Check every source; see :meth:`RelevanceSource.check_size`."""
        for source in self.sources:
            source.check_size(num_captions, num_images)

    def fit(self, captions: Sequence[str], image_ids: Ids) -> Self:
        """Fit every source; see :meth:`RelevanceSource.fit`."""
        for source in self.sources:
            source.fit(captions, image_ids)
        return self

    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> "EnsembleTable":
        """The table of every source, combined; see :meth:`RelevanceSource.table`."""
        tables = [source.table(captions, image_ids, text_ids) for source in self.sources]
        return EnsembleTable(tables, self.weights, self.name)

    def precompute(self, captions: Sequence[str], force: bool = False) -> list[Path]:
        """Fill the cache of every source; see :meth:`RelevanceSource.precompute`."""
        return [path for source in self.sources for path in source.precompute(captions, force)]


class EnsembleTable(RelevanceTable):
    """Weighted mean of tables over the same captions, by weights with sum 1."""

    def __init__(self, tables: Sequence[RelevanceTable], weights: Sequence[float], label: str) -> None:
        self.label, self._tables, self._weights = label, tables, weights

    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts; see :meth:`RelevanceTable.block`."""
        mean = torch.zeros(len(image_ids), len(text_ids), device=device_of(image_ids))
        own = torch.ones_like(mean, dtype=torch.bool)
        for table, weight in zip(self._tables, self._weights, strict=True):
            relevance = table.block(image_ids, text_ids, captions_per_image)
            mean.add_(relevance, alpha=weight)
            own &= relevance == 1
        return mean.clamp_(max=1).masked_fill_(own, 1)  # weights are rounded: their sum is 1 only nearly

    def between_texts(self) -> Self:
        """The weighted mean of the members'; see :meth:`RelevanceTable.between_texts`."""
        return type(self)([table.between_texts() for table in self._tables], self._weights, self.label)

    def captions_of(self, image_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Text ids ``(N, K)`` of images, which all members know alike; see :meth:`RelevanceTable.captions_of`."""
        return self._tables[0].captions_of(image_ids, captions_per_image)

    def to(self, device: torch.device | str) -> Self:
        """A table whose members stay on ``device``."""
        return type(self)([table.to(device) for table in self._tables], self._weights, self.label)
