"""Relevance from a dense vector for each caption."""

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.argument_types import typed
from vse_lightning.array_files import as_tensor, map_npy
from vse_lightning.checks import require
from vse_lightning.functional.similarity import caption_relevance
from vse_lightning.paths import existing_path
from vse_lightning.relevance._caption_index import CaptionIndex, device_of
from vse_lightning.relevance.relevance_table import RelevanceTable, warn_of_nothing_to_compare
from vse_lightning.targets import Ids

ROWS_PER_CHECK = 65_536
ORDINARY_SIZES = (1e-15, 1e15)  # whose squares float32 can hold


class FeatureTable(RelevanceTable):
    """Relevance as the best cosine between a text and the captions of an image, from one vector per caption.

    Args:
        features: ``(R, F)`` numbers, a tensor or an array: one vector per caption, of any length, as only its direction
            counts (a zero vector is similar to nothing); or the path of an ``.npy`` file of such, which is mapped into
            memory, shared by all processes of the machine and reopened when the table is pickled. float16 is accurate
            enough: products are in float32.
        image_ids: ``(M,)`` integers or strings in a list, an array or a tensor: the image that each caption describes.
        text_ids: ``(M,)`` likewise, the id of each caption; default ``0 ... M-1``.
        rows: ``(M,)`` integers, the row of ``features`` for each caption; default ``0 ... M-1``.
        label: the name of the source.
        rescale: ``"clip"``: max(cosine, 0); ``"shift"``: (1 + cosine) / 2.

    Raises:
        ValueError: if text ids repeat, lengths differ, or there is a row that ``features`` lacks or in which not all
            numbers are finite.

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

    _index: CaptionIndex

    @typed
    def __init__(
        self,
        features: Tensor | NDArray[np.generic] | Path | str,
        image_ids: Ids,
        text_ids: Ids | None = None,
        rows: Ids | None = None,
        *,
        label: str,
        rescale: str = "clip",
    ) -> None:
        self.label = label
        self._rescale = check_rescale(rescale)
        self._path = existing_path("features", features) if isinstance(features, Path | str) else None
        self._features = _features(features if self._path is None else map_features(self._path))
        self._index = CaptionIndex(image_ids, text_ids, rows)
        used = self._index.rows(len(self._features), one_each=rows is None)
        shortest, longest = self._check(used)
        self._needs_scaling = shortest < ORDINARY_SIZES[0] or longest > ORDINARY_SIZES[1]
        if longest == 0 and self._index.has_several_images():
            warn_of_nothing_to_compare(label, f"the features of all {len(used):,} captions are zero vectors")

    @torch.no_grad()
    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts; see :meth:`RelevanceTable.block`."""
        rows = self._index.find(image_ids, text_ids, captions_per_image)
        references = self._vectors(rows.references.flatten())
        slots = torch.arange(len(references), device=references.device).view_as(rows.references)
        # Labels decide between near ties: never in the half precision of a training step.
        with torch.autocast(references.device.type, enabled=False):
            relevance = caption_relevance(references, slots, self._vectors(rows.texts), self._rescale)
        return relevance.masked_fill_(rows.own, 1).to(device_of(image_ids))

    def to(self, device: torch.device | str) -> Self:
        """A table whose features stay on ``device``: blocks are made there, without a copy per step."""
        moved = self.__copy__()
        moved._features = self._features.to(device)
        moved._index = self._index.to(device)
        return moved

    def _vectors(self, rows: Tensor) -> Tensor:
        vectors = self._features[rows]
        if self._needs_scaling:
            vectors = vectors.double()
            vectors = vectors / _sizes(vectors).clamp(min=torch.finfo(torch.float64).tiny)[:, None]
        return normalize(vectors.float(), dim=-1)

    def _check(self, rows: Tensor) -> tuple[float, float]:
        """Refuse what is not finite; return the size of the shortest vector that is not zero and of the longest."""
        shortest, longest = math.inf, 0.0
        for part in torch.split(rows.to(self._features.device), ROWS_PER_CHECK):
            first, last = int(part[0]), int(part[-1])
            sizes = _sizes(self._features[part if last - first >= len(part) else slice(first, last + 1)])
            bad = part[~sizes.isfinite()]
            if len(bad):
                where = f"row {int(bad[0])}" + ("" if self._path is None else f" of {self._path}")
                raise ValueError(f"features must be finite numbers, got NaN or infinity in {where}")
            shortest = min(shortest, float(sizes.where(sizes > 0, math.inf).min()))
            longest = max(longest, float(sizes.max()))
        return shortest, longest

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


def _features(features: object) -> Tensor:
    try:
        tensor = features if isinstance(features, Tensor) else torch.from_numpy(np.asarray(features))
    except (TypeError, ValueError) as error:
        raise ValueError(f"features must be numbers (rows, width), got {type(features).__name__}: {error}") from error
    fits = tensor.ndim == 2 and tensor.shape[1] > 0 and not tensor.is_complex()
    require(fits, "features must be numbers (rows, width), got {} of shape {}", tensor.dtype, tuple(tensor.shape))
    return tensor


def _sizes(vectors: Tensor) -> Tensor:
    """The largest absolute value of each vector; NaN stays NaN."""
    return (vectors if vectors.is_floating_point() else vectors.float()).abs().amax(dim=1)


def map_features(path: Path) -> Tensor:
    """The ``.npy`` file as a tensor mapped into memory, shared between processes; writing to it changes no file."""
    return as_tensor(map_npy(path), str(path))


def check_rescale(rescale: str) -> str:
    """Return ``rescale`` if it is a rule that there is."""
    if rescale not in ("clip", "shift"):
        raise ValueError(f"rescale must be 'clip' or 'shift', got {rescale!r}")
    return rescale
