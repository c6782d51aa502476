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
    """The matrices of captions.

    Args:
        orders: for each order from 1, the n-grams of the captions and the IDF of each; asked for one at a time.
        image_ids: ``(M,)`` the image that each caption describes.
    """
    images = np.unique(image_ids, return_inverse=True)[1].astype(np.int32)
    lengths = np.zeros(len(images), dtype=np.int64)
    entries: list[_Entries] = []
    for order, (ngrams, idf) in enumerate(orders, start=1):
        if order == LENGTH_ORDER:
            lengths = np.bincount(ngrams.captions, minlength=len(images))
        entries.append(_weigh(ngrams, idf, images))
    return CIDErMatrices(*_joined(entries), lengths)


class _Entries(NamedTuple):
    """Entries of the two matrices, which differ in their values only, caption by caption."""

    per_caption: NDArray[np.int64]  # how many each caption has
    columns: NDArray[np.int32]
    candidates: NDArray[np.float32]
    references: NDArray[np.float32]


def _weigh(ngrams_of_order: Ngrams, idf: NDArray[np.float64], images: NDArray[np.int32]) -> _Entries:
    """The entries of one order."""
    captions, ngrams, turns, counts = _in_order(ngrams_of_order)
    weights = idf[ngrams]
    # Each of the c occurrences adds c idf^2, all together (c idf)^2.
    norms = np.sqrt(np.bincount(captions, counts * weights**2, minlength=len(images)))
    columns = _columns(ngrams, turns, len(idf))
    useful = np.flatnonzero(_is_shared(columns, images[captions]) & (weights > 0))
    values = (weights[useful] / norms[captions[useful]]).astype(np.float32)
    per_caption = np.bincount(captions[useful], minlength=len(images))
    return _Entries(per_caption, _renumber(columns[useful]), values, values * counts[useful].astype(np.float32))


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


def _renumber(columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the columns that remain from 0."""
    used = np.zeros(columns.max(initial=-1) + 1, dtype=np.int32)
    used[columns] = 1
    return (np.cumsum(used, dtype=np.int32) - 1)[columns]


def _joined(orders: list[_Entries]) -> tuple[Any, Any]:
    """References and candidates as scipy CSR matrices that share their structure: the columns of all orders.

    The list is emptied on the way, as everything twice would be much.
    """
    from scipy.sparse import csr_matrix

    count = len(orders)
    per_caption = np.sum([entries.per_caption for entries in orders], axis=0)
    starts = np.append(0, np.cumsum(per_caption))
    columns = np.empty(starts[-1], dtype=np.int32)
    values = np.empty((2, starts[-1]), dtype=np.float32)
    free, width = starts[:-1].copy(), 0
    while orders:
        entries = orders.pop(0)
        first = np.cumsum(entries.per_caption) - entries.per_caption
        places = np.arange(len(entries.columns)) + np.repeat(free - first, entries.per_caption)
        columns[places] = entries.columns + width
        values[:, places] = entries.references, entries.candidates / np.float32(count)
        free += entries.per_caption
        width += int(entries.columns.max(initial=-1)) + 1
    references = csr_matrix((values[0], columns, starts), shape=(len(per_caption), width))
    return references, csr_matrix((values[1], references.indices, references.indptr), shape=references.shape)
