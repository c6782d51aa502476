"""Precomputed image features in an ``.npy`` file, read row by row."""

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.array_files import BFLOAT16, as_tensor, map_npy
from vse_lightning.checks import require
from vse_lightning.paths import existing_path

SCANNED_BYTES = 2 * 1024**3
CHUNK_BYTES = 64 * 1024**2


class FeatureFile:
    """A memory-mapped ``.npy`` file of image features: ``(rows, F)`` pooled or ``(rows, R, F)`` regions.

    They are float16, bfloat16, float32 or float64, of any byte order, and as many ``rows`` as are asked for. The file
    is never loaded whole, and every process opens it for itself. Files up to 2 GiB are searched for NaN and infinity at
    once; in a larger one each row is checked when it is read.
    """

    def __init__(self, path: str | Path, rows: int | None = None) -> None:
        self.path = existing_path("features", path)
        self._rows = self._map()
        message = "features must have one row for each of the {} images, got {} in {}"
        require(rows is None or len(self) == rows, message, rows, len(self), self.path)
        self._is_scanned = self._rows.nbytes <= SCANNED_BYTES
        step = max(1, CHUNK_BYTES // max(1, self._rows[:1].nbytes))
        for start in range(0, len(self), step) if self._is_scanned else ():
            self._require_finite(self._tensor(self._rows[start : start + step]), start)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Tensor:
        """One row as a float32 tensor ``(F,)`` or ``(R, F)``."""
        features = self._tensor(self._rows[row].copy()).float()
        if not self._is_scanned:
            self._require_finite(features[None], row)
        return features

    @property
    def row_shape(self) -> tuple[int, ...]:
        """``(F,)`` or ``(R, F)``."""
        return tuple(self._rows.shape[1:])

    def runs(self) -> Tensor:
        """Number the runs of equal rows: ``(rows,)`` int64, 0 for the first; of regions only the first is compared."""
        first = self._rows if self._rows.ndim == 2 else self._rows[:, 0]
        step = 4096
        starts = range(1, len(first), step)
        parts = [self._tensor(first[start - 1 : start + step]) for start in starts]
        differs = [(part[1:] != part[:-1]).any(dim=1) for part in parts]
        return torch.cat([torch.zeros(1, dtype=torch.bool), *differs]).cumsum(0)

    def _map(self) -> NDArray[Any]:
        try:
            rows = map_npy(self.path)
        except ValueError as error:
            raise ValueError(f"features: {error}") from error
        fits = rows.ndim in (2, 3) and 0 not in rows.shape and (rows.dtype.kind == "f" or rows.dtype == BFLOAT16)
        message = "features must be floats, (images, features) or (images, regions, features), got {} of shape {} in {}"
        require(fits, message, rows.dtype, rows.shape, self.path)
        return rows

    def _tensor(self, rows: NDArray[Any]) -> Tensor:
        return as_tensor(rows, str(self.path))

    def _require_finite(self, rows: Tensor, first_row: int) -> None:
        bad = (~rows.isfinite().flatten(1).all(dim=1)).nonzero().flatten()[:1] + first_row
        require(not len(bad), "features must be finite, got NaN or infinity in row {} of {}", *bad.tolist(), self.path)

    def __getstate__(self) -> dict[str, Any]:
        # Without the memory map, which would be pickled with its whole content.
        return {"path": self.path, "_is_scanned": self._is_scanned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rows = self._map()
