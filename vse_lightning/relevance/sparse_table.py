"""Relevance from a sparse vector for each caption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.array_files import DAMAGES
from vse_lightning.checks import require, require_extra
from vse_lightning.paths import existing_path
from vse_lightning.relevance._caption_index import CaptionIndex, device_of
from vse_lightning.relevance.relevance_table import RelevanceTable, warn_of_nothing_to_compare
from vse_lightning.targets import Ids

FREQUENT_SHARE = 1 / 16  # of the captions; columns denser than this are cheaper in a dense product
PAIRS_PER_STEP = 1 << 22
ROUNDING = 1e-3


class SparseTable(RelevanceTable):
    """Relevance from a sparse row per caption, such as its words' TF-IDF or BM25; blocks are computed on the CPU.

    Args:
        features: ``(R, F)`` numbers, a scipy sparse matrix: a row per caption; or the path of an ``.npz`` file that
            ``scipy.sparse.save_npz`` wrote, which is read again when the table is unpickled.
        image_ids: ``(M,)`` integers or strings in a list, an array or a tensor: the image that each caption describes.
        text_ids: ``(M,)`` likewise, the id of each caption; default ``0 ... M-1``.
        rows: ``(M,)`` integers, the row of ``features`` for each caption; default ``0 ... M-1``.
        label: the name of the source.
        text_features: ``(R, F)`` likewise: the rows of captions in the place of the text, where those in ``features``
            are for the place of a caption of the image. For similarities that are not symmetric, such as BM25 with its
            query and its document.
        normalize: divide the product of two rows by their lengths, which makes it their cosine, or, with
            ``text_features``, by the product of the text with itself as the caption. What is below 0 counts 0, above 1
            it counts 1. Without, products must not exceed 1.
        captions: of an image count the ``"best"`` or their ``"mean"``.
        pair_weight: gives for rows ``(R,)`` of captions and ``(M,)`` of texts what their products ``(R, M)`` are
            multiplied with, such as a penalty on different lengths.

    Raises:
        ModuleNotFoundError: if scipy is missing (``pip install "vse-lightning[labels]"``).
        ValueError: if text ids repeat, lengths differ, or features are not finite; from :meth:`block`, if products
            exceed 1 without ``normalize``.

    Example:
        >>> from scipy.sparse import csr_matrix
        >>> words = csr_matrix([[3.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
        >>> table = SparseTable(words, image_ids=[0, 0, 1], label="by hand")
        >>> table.block(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
        tensor([[1.0000, 1.0000, 0.8000],
                [0.0000, 0.8000, 1.0000]])
    """

    _index: CaptionIndex

    @typed
    def __init__(
        self,
        features: Any,
        image_ids: Ids,
        text_ids: Ids | None = None,
        rows: Ids | None = None,
        *,
        label: str,
        text_features: Any = None,
        normalize: bool = True,
        captions: Literal["best", "mean"] = "best",
        pair_weight: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        require_extra("SparseTable", "labels", "scipy")
        self.label = label
        self._normalize, self._pair_weight = normalize, pair_weight
        self._reduce = "amax" if captions == "best" else "sum"
        self._index = CaptionIndex(image_ids, text_ids, rows)
        from_file = isinstance(features, Path | str) and text_features is None
        self._path = Path(features).absolute() if from_file else None
        references = _matrix("features", features)
        texts = references if text_features is None else _matrix("text_features", text_features)
        require(references.shape == texts.shape, "text_features must be of the shape of features, got {} and {}",
                texts.shape, references.shape)  # fmt: skip
        count = len(self._index.rows(references.shape[0], one_each=rows is None))
        self._products = _product_matrices(references, texts, normalize)
        if self._index.has_several_images() and not references.nnz:
            shared = f"no two of the {count:,} captions of different images share anything that tells images apart"
            warn_of_nothing_to_compare(label, shared)

    @torch.no_grad()
    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts; see :meth:`RelevanceTable.block`."""
        rows = self._index.find(image_ids, text_ids, captions_per_image)
        slots = torch.arange(rows.references.shape[1])
        references = rows.references[slots < rows.reference_counts[:, None]]
        images = torch.arange(len(image_ids)).repeat_interleave(rows.reference_counts)
        texts = [matrix[rows.texts.numpy()].T for matrix in self._products.texts]
        rare, frequent = texts[0].tocsr(), torch.from_numpy(texts[1].toarray())

        relevance = torch.zeros(len(image_ids), len(text_ids))
        step = max(1, PAIRS_PER_STEP // max(1, len(text_ids)))
        for captions, owners in zip(torch.split(references, step), torch.split(images, step), strict=True):
            sparse, dense = (matrix[captions.numpy()] for matrix in self._products.captions)
            similarity = torch.from_numpy((sparse @ rare).toarray())
            similarity.addmm_(torch.from_numpy(dense.toarray()), frequent)
            if self._pair_weight is not None:
                similarity *= self._pair_weight(captions, rows.texts)
            relevance.scatter_reduce_(0, owners[:, None].expand_as(similarity), similarity, self._reduce)
        if self._reduce == "sum":
            relevance.div_(rows.reference_counts[:, None])
        largest = float(relevance.max()) if relevance.numel() else 0.0
        message = "{}: products of features must not exceed 1, got {}: divide them, or give normalize=True"
        require(self._normalize or largest <= 1 + ROUNDING, message, self.label, largest)
        return relevance.clamp_(0, 1).masked_fill_(rows.own, 1).to(device_of(image_ids))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._path is None else {**self.__dict__, "_products": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            features = _matrix("features", self._path)
            self._products = _product_matrices(features, features, self._normalize)


class _Products(NamedTuple):
    """Matrices to multiply, each as its rare and its frequent columns."""

    captions: tuple[Any, Any]
    texts: tuple[Any, Any]


def _product_matrices(captions: Any, texts: Any, normalize: bool) -> _Products:
    """The rows as captions of an image, and as texts; they may be one matrix, which is then kept once."""
    from scipy.sparse import diags

    per_column = captions.getnnz(axis=0)
    frequent = per_column > FREQUENT_SHARE * captions.shape[0]
    columns = np.flatnonzero(~frequent & (per_column > 0)), np.flatnonzero(frequent)
    symmetric = texts is captions
    if normalize:
        own = np.asarray(captions.astype(np.float64).multiply(texts).sum(axis=1)).ravel()
        scale = np.divide(1, own, out=np.zeros_like(own), where=own > 0)
        if symmetric:
            captions = diags(np.sqrt(scale)) @ captions
        else:
            texts = diags(scale) @ texts
    kinds = [matrix.astype(np.float32, copy=False) for matrix in ((captions,) if symmetric else (captions, texts))]
    rare, frequent = ([matrix[:, part] for matrix in kinds] for part in columns)
    return _Products((rare[0], frequent[0]), (rare[-1], frequent[-1]))


def _matrix(name: str, features: Any) -> Any:
    """The features as a ``csr_matrix``."""
    from scipy.sparse import csr_matrix, issparse, load_npz

    where = ""
    if isinstance(features, Path | str):
        where = f" of {features}"
        try:
            features = load_npz(existing_path(name, features))
        except DAMAGES as error:
            raise ValueError(f"{name} must be an .npz file that scipy.sparse.save_npz wrote, got {features}") from error
    sparse = issparse(features)
    message = "{} must be a scipy sparse matrix (rows, width) of numbers, got {}"
    require(sparse, message, name, type(features).__name__)
    matrix = csr_matrix(features)
    require(matrix.dtype.kind in "fiub", message, name, matrix.dtype)
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise ValueError(f"{name} must be finite numbers, got NaN or infinity in row {row}{where}")
    return matrix
