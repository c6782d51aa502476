"""Sources: what derives graded relevance from captions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from vse_lightning.relevance.captions import read_captions
from vse_lightning.relevance.table import RelevanceTable
from vse_lightning.targets import Ids


class RelevanceSource(ABC):
    """Turns captions into graded relevance labels.

    To use labels of your own, subclass it and return a table: :class:`FeatureTable` from one vector per caption, or a
    :class:`RelevanceTable` of your own. The class can then be named in a config (``class_path: my_package.Colours``).

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
