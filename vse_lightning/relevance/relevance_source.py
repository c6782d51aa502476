"""Sources: what derives graded relevance from captions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from lightning.fabric.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.checks import require_text
from vse_lightning.relevance.relevance_table import RelevanceTable
from vse_lightning.targets import Ids, as_ids


class RelevanceSource(ABC):
    """Turns captions into graded relevance labels.

    To use labels of your own, subclass it and return a table: :class:`FeatureTable` from a dense vector per caption,
    :class:`SparseTable` from a sparse one, or a :class:`RelevanceTable` of your own. The class can then be named in a
    config (``class_path: my_package.Colours``). :class:`CachedFeatures` keeps features on disk that are slow
    to make; :meth:`precompute` says which.

    Attributes:
        name: a short label, printed beside every value that uses the relevance.
        cache_dir: folder for features that are slow to make; ``None``: the environment variable
            ``VSE_LIGHTNING_CACHE``, else ``vse_lightning`` in ``XDG_CACHE_HOME``, else ``~/.cache/vse_lightning``.

    Example:
        >>> import torch
        >>> from vse_lightning.relevance import FeatureTable, RelevanceSource
        >>> class Colours(RelevanceSource):
        ...     '''Captions are alike when they name the same colours.'''
        ...
        ...     name = "colours"
        ...
        ...     def table(self, captions, image_ids, text_ids=None):
        ...         named = [[float(colour in caption) for colour in ("red", "green")] for caption in captions]
        ...         return FeatureTable(torch.tensor(named), image_ids, text_ids, label=self.name)
        >>> captions = ["a red ball", "a red and green ball", "a green bus"]
        >>> Colours().table(captions, torch.tensor([0, 0, 1])).block(torch.tensor([1]), torch.tensor([0, 1, 2]))
        tensor([[0.0000, 0.7071, 1.0000]])
    """

    name: str
    cache_dir: str | Path | None = None

    def check_size(self, num_captions: int, num_images: int) -> None:  # noqa: B027  # most sources fit any data set
        """Raise a ``ValueError`` if this source belongs to another data set; here it fits any.

        The data module asks before it makes a table, which may be that of a split only.

        Args:
            num_captions: captions of the whole data set.
            num_images: its images.
        """

    def fit(self, captions: Sequence[str], image_ids: Ids) -> Self:
        """Learn what must be learned from captions, such as document frequencies; here nothing.

        Args:
            captions: the training captions, and no others: labels must not depend on test captions.
            image_ids: ``(M,)`` integers or strings in a list, an array or a tensor: the image that each describes.

        Returns:
            The source itself.

        Raises:
            ValueError: if a caption is no text, or there are none, or not as many as ids.
        """
        read_captions(captions, image_ids)
        return self

    @abstractmethod
    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> RelevanceTable:
        """Make the table for a set of captions.

        Args:
            captions: all captions that the table must serve.
            image_ids: ``(M,)`` integers or strings in a list, an array or a tensor: the image that each describes.
            text_ids: ``(M,)`` likewise, the id of each; default ``0 ... M-1``. Ids are row numbers over the whole data
                set, so a split passes its own.

        Raises:
            ValueError: if a caption is no text, or there are none, or not as many as ids.
        """

    def precompute(self, captions: Sequence[str], force: bool = False) -> list[Path]:
        """Fill the disk cache for a set of captions.

        Args:
            captions: the captions that :meth:`table` will be asked for, in the same order.
            force: make the features again although they are there.

        Returns:
            The files; none for a source that keeps nothing on disk.
        """
        return []


def read_captions(
    captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None
) -> tuple[list[str], Tensor, Tensor | None]:
    """What :meth:`RelevanceSource.fit` or :meth:`RelevanceSource.table` is called with, checked; ids on the CPU."""
    require_text("captions", captions)
    images = as_ids("image_ids", image_ids).cpu()
    texts = None if text_ids is None else as_ids("text_ids", text_ids).cpu()
    counts = {"captions": len(captions), "image_ids": len(images)} | ({} if texts is None else {"text_ids": len(texts)})
    if not len(captions) or len(set(counts.values())) > 1:
        numbers = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"captions and their ids must be as many, at least one, got {numbers}")
    return list(captions), images, texts


def warn_of_unknown_words(label: str, captions: Sequence[str], rows: Sequence[int] | NDArray[np.integer]) -> None:
    """Warn of the captions in these ``rows``, which have no word known from training."""
    if len(rows):
        first = int(rows[0])
        rank_zero_warn(
            f"{label}: of {len(captions):,} captions {len(rows):,} have no word known from training, such as "
            f"{captions[first]!r} (row {first}), and can hardly be compared. If they are many: is the training split "
            "in the same language, and does tokenizer= suit it?"
        )
