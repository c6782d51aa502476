"""The choices that make two Recall@K differ: which images and captions compete."""

from __future__ import annotations

from dataclasses import dataclass

from vse_lightning.checks import require_whole

PAIRS_AT_ONCE = 2**24
"""How many scores are held at a time unless told otherwise: 64 MiB."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a gallery is cut up, checked once for all metrics.

    Attributes:
        chunk_size: images whose scores are held at a time, at least 64; None: as many as make blocks of 2 ** 24 pairs.
        folds: the metric is the mean over this many consecutive folds of the images, each with its own gallery.
        captions_per_image: keep only the first captions of each image, among the texts and in the relevance.
    """

    chunk_size: int | None = None
    folds: int = 1
    captions_per_image: int | None = None

    def __post_init__(self) -> None:
        require_whole("folds", self.folds)
        for name, least in (("chunk_size", 64), ("captions_per_image", 1)):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), least)

    def rows_per_block(self, num_texts: int) -> int:
        """How many images to score at a time."""
        return self.chunk_size or max(64, PAIRS_AT_ONCE // num_texts)
