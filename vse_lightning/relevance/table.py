"""Tables: relevance of images to texts, block by block, from features of single captions."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.functional.similarity import caption_relevance
from vse_lightning.relevance.index import CaptionIndex


class RelevanceTable(ABC):
    """Serves the relevance of any images to any texts of the captions it was made from.

    It never holds the relevance of all pairs (640 GB for the captions of COCO): it keeps what describes single captions
    and compares those that a block asks for. A copy, deep or not, shares the storage.

    Attributes:
        label: where the relevance comes from, to be printed beside every value that uses it.
    """

    label: str

    @abstractmethod
    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance of images to texts.

        Args:
            image_ids: ``(N,)`` int64, in any order, repeats allowed.
            text_ids: ``(M,)`` int64, likewise.
            captions_per_image: 1 compares a text with the first caption of each image only (the protocol of the Ladder
                loss paper), 2 with the first two, and so on; default all captions of the image that the table knows,
                in the batch or not.

        Returns:
            ``(N, M)`` float32 in [0, 1] on the device of ``image_ids``; exactly 1 where the text is a caption of the
            image.

        Raises:
            ValueError: if an id is not in the table (naming the first five), or ``captions_per_image`` is below 1.
        """

    def between_texts(self) -> "RelevanceTable":
        """The same labels between texts: every text is an image of its own, with itself as the only caption.

        ``table.between_texts().block(text_ids, other_text_ids)`` is the relevance of texts to other texts, for
        text-to-text retrieval.

        Raises:
            ValueError: if the table has no labels between texts; those of your own have not unless they override this.
        """
        raise ValueError(f"{type(self).__name__} has no labels between texts, which direction='t2t' needs")

    def to(self, device: torch.device | str) -> Self:
        """A table that works on ``device``; by default the table itself, for those that work on the CPU."""
        return self

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()


class FeatureTable(RelevanceTable):
    """Relevance as the best cosine between a text and the captions of an image, from one vector per caption.

    Args:
        features: ``(R, F)`` floating point, one vector per caption, of any length (a zero vector is similar to
            nothing); or the path of an ``.npy`` file of such, which is mapped into memory, shared by all processes of
            the machine and reopened when the table is pickled. float16 is accurate enough: products are in float32.
        image_ids: ``(M,)`` int64, the image that each caption describes.
        text_ids: ``(M,)`` int64, the id of each caption; default ``0 ... M-1``.
        rows: ``(M,)`` int64, the row of ``features`` for each caption; default ``0 ... M-1``.
        label: the name of the source.
        rescale: ``"clip"``: max(cosine, 0); ``"shift"``: (1 + cosine) / 2.

    Raises:
        ValueError: if text ids repeat, lengths differ, or there is a row that ``features`` lacks.

    References:
        Li et al., "Integrating Listwise Ranking into Pairwise-based Image-Text Retrieval", 2023: the maximum over the
        captions of the image, and ``"shift"``.

    Example:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
        >>> table = FeatureTable(features, image_ids=torch.tensor([0, 0, 1]), label="by hand")
        >>> table.block(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
        tensor([[1.0000, 1.0000, 0.8000],
                [0.0000, 0.8000, 1.0000]])
        >>> table.block(torch.tensor([0, 1]), torch.tensor([2]), captions_per_image=1)
        tensor([[0.],
                [1.]])
    """

    def __init__(
        self,
        features: Tensor | Path,
        image_ids: Tensor,
        text_ids: Tensor | None = None,
        rows: Tensor | None = None,
        *,
        label: str,
        rescale: str = "clip",
    ) -> None:
        self.label = label
        self._rescale = check_rescale(rescale)
        self._path = features if isinstance(features, Path) else None
        self._features = map_features(features) if isinstance(features, Path) else features
        self._index = CaptionIndex(image_ids, text_ids, rows)
        needed = 1 + int(rows.max()) if rows is not None else len(image_ids)
        if needed > len(self._features):
            raise ValueError(f"features must have at least {needed} rows, one per caption, got {len(self._features)}")
        if rows is not None and rows.min() < 0:
            raise ValueError(f"rows must not be negative, got {int(rows.min())}")

    @torch.no_grad()
    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts; see :meth:`RelevanceTable.block`."""
        device = self._index.device
        found = self._index.find(image_ids.to(device), text_ids.to(device), captions_per_image)
        references = self._vectors(found.references.flatten())
        slots = torch.arange(len(references), device=device).view_as(found.references)
        # Labels decide between near ties: never in the half precision of a training step.
        with torch.autocast(device.type, enabled=False):
            relevance = caption_relevance(references, slots, self._vectors(found.texts), self._rescale)
        return relevance.masked_fill_(found.own, 1).to(image_ids.device)

    def between_texts(self) -> Self:
        """The cosine of two captions; see :meth:`RelevanceTable.between_texts`."""
        copied = self.__copy__()
        copied._index = self._index.each_text_alone()
        return copied

    def to(self, device: torch.device | str) -> Self:
        """A table whose features stay on ``device``: blocks are made there, without a copy per step."""
        moved = self.__copy__()
        moved._features = self._features.to(device)
        moved._index = self._index.to(device)
        return moved

    def _vectors(self, rows: Tensor) -> Tensor:
        return normalize(self._features[rows].float(), dim=-1)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._path is not None:
            state["_features"] = None
            state["_index"] = self._index.to("cpu")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self._features = map_features(self._path)


def map_features(path: Path) -> Tensor:
    """The ``.npy`` file as a tensor mapped into memory.

    Pages are read when they are used and shared between processes. Writing to the tensor would not change the file.
    """
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def check_rescale(rescale: str) -> str:
    """Return ``rescale`` if it is a known rule."""
    if rescale not in ("clip", "shift"):
        raise ValueError(f"rescale must be 'clip' or 'shift', got {rescale!r}")
    return rescale
