"""CIDEr-D as products of sparse matrices."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vse_lightning.relevance._ngrams import Ngrams

LENGTH_ORDER = 2  # the length of a caption is its number of bigrams


class CIDErMatrices(NamedTuple):
    r"""What CIDEr-D of two captions is computed from; :class:`CIDErRelevance` has the equation.

    For counts :math:`c` and :math:`r` of an n-gram, :math:`\min(c, r) = \sum_t [c \ge t]\,[r \ge t]`: the t-th
    occurrence of an n-gram in the text meets the t-th in the reference. So a column is "the t-th occurrence of g", and
    the sum over all n-grams is one product of sparse matrices, with :math:`\mathrm{idf}_g / \lVert c \rVert` as the
    entry of a candidate and :math:`r\,\mathrm{idf}_g / \lVert r \rVert` as that of a reference. Columns that occur in
    the captions of one image only are dropped, since relevance to the own image is 1 whatever they hold: two captions
    of one image seem less alike than they are, but those match anyway.
    """

    references: Any  # (captions, columns) scipy CSR
    candidates: Any  # likewise, divided by the number of orders
    lengths: NDArray[np.int64]  # of the captions


def cider_matrices(orders: Iterable[tuple[Ngrams, NDArray[np.float64]]], image_ids: NDArray[np.int64]) -> CIDErMatrices:
    """The matrices of captions, from the n-grams and their IDF of each order from 1, which are asked for one by one."""
    from scipy.sparse import csr_matrix, hstack

    images = np.unique(image_ids, return_inverse=True)[1].astype(np.int32)
    lengths = np.zeros(len(images), dtype=np.int64)
    weighted = []
    for order, (ngrams, idf) in enumerate(orders, start=1):
        if order == LENGTH_ORDER:
            lengths = np.bincount(ngrams.captions, minlength=len(images))
        weighted.append(_weigh(ngrams, idf, images))
    both, count = hstack(weighted, "csr"), len(weighted)
    del weighted  # everything twice would be much
    values = np.ascontiguousarray(both.data.real), both.data.imag / np.float32(count)
    references, candidates = (csr_matrix((value, both.indices, both.indptr), both.shape) for value in values)
    return CIDErMatrices(references, candidates, lengths)


def _weigh(ngrams_of_order: Ngrams, idf: NDArray[np.float64], images: NDArray[np.int32]) -> Any:
    """The matrix of one order: the entries of references are its real parts, those of candidates the imaginary ones."""
    from scipy.sparse import csr_matrix

    captions, ngrams, turns, counts = _in_order(ngrams_of_order)
    weights = idf[ngrams]
    # Each of the c occurrences adds c idf^2, all together (c idf)^2.
    norms = np.sqrt(np.bincount(captions, counts * weights**2, minlength=len(images)))
    columns = _columns(ngrams, turns, len(idf))
    useful = np.flatnonzero(_is_shared(columns, images[captions]) & (weights > 0))
    values = (weights[useful] / norms[captions[useful]]).astype(np.float32)
    starts = np.append(0, np.cumsum(np.bincount(captions[useful], minlength=len(images))))
    entries = values * (counts[useful].astype(np.float32) + np.complex64(1j))
    return csr_matrix((entries, columns[useful], starts), (len(images), int(columns.max(initial=-1)) + 1))


def _in_order(ngrams_of_order: Ngrams) -> tuple[NDArray[np.int32], ...]:
    """For each occurrence: caption (ascending), n-gram, how many like it came before, and how many there are."""
    size = max(1, len(ngrams_of_order.pairs))  # there may be no n-grams of this order
    keys = np.sort(ngrams_of_order.captions * np.int64(size) + ngrams_of_order.numbers)
    captions, ngrams = (half(keys, size).astype(np.int32) for half in (np.floor_divide, np.remainder))
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(np.append(starts, len(keys)))
    turns = np.arange(len(keys)) - np.repeat(starts, counts)
    return captions, ngrams, turns.astype(np.int32), np.repeat(counts.astype(np.int32), counts)


def _columns(ngrams: NDArray[np.int32], turns: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """The number of the n-gram for first occurrences; later ones have columns of their own."""
    later = turns > 0
    columns = ngrams.copy()
    columns[later] = size + np.unique(turns[later].astype(np.int64) * size + ngrams[later], return_inverse=True)[1]
    return columns


def _is_shared(columns: NDArray[np.int32], images: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether the column of each entry occurs with several images."""
    width = columns.max(initial=-1) + 1
    some_image = np.empty(width, dtype=np.int32)
    some_image[columns] = images
    shared = np.zeros(width, dtype=bool)
    shared[columns[images != some_image[columns]]] = True
    return shared[columns]
