"""CIDEr-D as sparse products."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.relevance._caption_index import CaptionIndex, device_of
from vse_lightning.relevance._ngrams import Ngrams
from vse_lightning.relevance.table import RelevanceTable, warn_of_nothing_to_compare
from vse_lightning.targets import Ids, as_ids

FREQUENT_SHARE = 1 / 16  # of the captions; columns denser than this are cheaper in a dense product
PAIRS_PER_STEP = 1 << 22
LENGTH_ORDER = 2  # the length of a caption is its number of bigrams


class CIDErTable(RelevanceTable):
    r"""CIDEr-D of texts with the captions of images as references; :class:`CIDErRelevance` has the equation.

    For counts :math:`c` and :math:`r` of an n-gram, :math:`\min(c, r) = \sum_t [c \ge t]\,[r \ge t]`: the t-th
    occurrence of an n-gram in the text meets the t-th in the reference. So a column is "the t-th occurrence of g", and
    the sum over all n-grams is one product of sparse matrices, with :math:`\mathrm{idf}_g / \lVert c \rVert` as the
    entry of a candidate and :math:`r\,\mathrm{idf}_g / \lVert r \rVert` as that of a reference. Columns that occur in
    the captions of one image only are dropped, since relevance to the own image is 1 whatever they hold; the few
    columns that many captions share are multiplied densely.

    Args:
        orders: for each order from 1, the n-grams of the captions and the IDF of each; asked for one at a time.
        image_ids: ``(M,)`` the image that each caption describes.
        text_ids: ``(M,)`` the id of each caption; default ``0 ... M-1``.
        sigma: width of the length penalty.
        label: the name of the source.
    """

    def __init__(
        self,
        orders: Iterable[tuple[Ngrams, NDArray[np.float64]]],
        image_ids: Ids,
        text_ids: Ids | None = None,
        *,
        sigma: float,
        label: str,
    ) -> None:
        self.label = label
        self._sigma = sigma
        self._index = CaptionIndex(image_ids, text_ids)
        self._lengths = torch.zeros(len(image_ids))
        ids = as_ids("image_ids", image_ids).numpy(force=True)
        images = np.unique(ids, return_inverse=True)[1].astype(np.int32)
        rare: list[_Entries] = []
        frequent: list[_Entries] = []
        for order, (found, idf) in enumerate(orders, start=1):
            if order == LENGTH_ORDER:
                self._lengths += torch.from_numpy(np.bincount(found.captions, minlength=len(images)))
            for of_all, entries in zip((rare, frequent), _weigh(found, idf, images), strict=True):
                of_all.append(entries)
        for entries in (*rare, *frequent):
            entries.candidates[:] /= len(rare)
        self._rare_candidates, self._rare_references = _matrices(rare)
        self._frequent_candidates, self._frequent_references = _matrices(frequent)
        if self._index.has_several_images() and not self._rare_candidates.nnz + self._frequent_candidates.nnz:
            why = f"no two of the {len(images):,} captions of different images share a word that tells images apart"
            warn_of_nothing_to_compare(label, why)

    @torch.no_grad()
    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts, computed on the CPU; see :meth:`RelevanceTable.block`."""
        found = self._index.find(image_ids, text_ids, captions_per_image)
        slots = torch.arange(found.references.shape[1])
        references = found.references[slots < found.reference_counts[:, None]]
        images = torch.arange(len(image_ids)).repeat_interleave(found.reference_counts)
        rare = self._rare_candidates[found.texts.numpy()].T.tocsr()
        frequent = _dense(self._frequent_candidates, found.texts).T

        total = torch.zeros(len(image_ids), len(text_ids))
        step = max(1, PAIRS_PER_STEP // max(1, len(text_ids)))
        for rows, rows_images in zip(torch.split(references, step), torch.split(images, step), strict=True):
            similarity = torch.from_numpy((self._rare_references[rows.numpy()] @ rare).toarray())
            similarity.addmm_(_dense(self._frequent_references, rows), frequent)
            longer = self._lengths[rows, None] - self._lengths[found.texts]
            similarity *= longer.square_().div_(-2 * self._sigma**2).exp_()
            total.index_add_(0, rows_images, similarity)
        relevance = total.div_(found.reference_counts[:, None]).clamp_(max=1)
        return relevance.masked_fill_(found.own, 1).to(device_of(image_ids))

    def between_texts(self) -> Self:
        """CIDEr-D of a text with another as the only reference; see :meth:`RelevanceTable.between_texts`.

        What only captions of one image share is not counted: two captions of the same image seem less alike than they
        are, but those match anyway.
        """
        copied = self.__copy__()
        copied._index = self._index.each_text_alone()
        return copied

    def captions_of(self, image_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Text ids ``(N, K)`` of images; see :meth:`RelevanceTable.captions_of`."""
        return self._index.captions_of(image_ids, captions_per_image)


class _Entries(NamedTuple):
    """Entries of the two matrices, which differ in their values only, caption by caption."""

    per_caption: NDArray[np.int64]  # how many each caption has
    columns: NDArray[np.int32]
    candidates: NDArray[np.float32]
    references: NDArray[np.float32]


def _weigh(found: Ngrams, idf: NDArray[np.float64], images: NDArray[np.int32]) -> tuple[_Entries, _Entries]:
    """The entries of one order: those in rare columns, and those in frequent ones."""
    captions, ngrams, turns, counts = _in_order(found)
    weights = idf[ngrams]
    # Each of the c occurrences adds c idf^2, all together (c idf)^2.
    norms = np.sqrt(np.bincount(captions, counts * weights**2, minlength=len(images)))
    columns = _columns(ngrams, turns, len(idf))
    useful = np.flatnonzero(_is_shared(columns, images[captions]) & (weights > 0))
    frequent = (np.bincount(columns[useful], minlength=1) > FREQUENT_SHARE * len(images))[columns[useful]]

    def entries(chosen: NDArray[np.int64]) -> _Entries:
        values = (weights[chosen] / norms[captions[chosen]]).astype(np.float32)
        per_caption = np.bincount(captions[chosen], minlength=len(images))
        return _Entries(per_caption, _renumber(columns[chosen]), values, values * counts[chosen].astype(np.float32))

    return entries(useful[~frequent]), entries(useful[frequent])


def _in_order(found: Ngrams) -> tuple[NDArray[np.int32], ...]:
    """For each occurrence: caption (ascending), n-gram, how many like it came before, and how many there are."""
    size = max(1, len(found.pairs))  # there may be no n-grams of this order
    keys = np.sort(found.captions * np.int64(size) + found.numbers)
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
    """Number the columns that there are from 0."""
    used = np.zeros(columns.max(initial=-1) + 1, dtype=np.int32)
    used[columns] = 1
    return (np.cumsum(used, dtype=np.int32) - 1)[columns]


def _matrices(orders: list[_Entries]) -> tuple[Any, Any]:
    """Candidates and references as scipy CSR matrices that share their structure: the columns of all orders.

    The list is emptied on the way, as everything twice would be much.
    """
    from scipy.sparse import csr_matrix

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
        values[:, places] = entries.candidates, entries.references
        free += entries.per_caption
        width += int(entries.columns.max(initial=-1)) + 1
    candidates = csr_matrix((values[0], columns, starts), shape=(len(per_caption), width))
    return candidates, csr_matrix((values[1], candidates.indices, candidates.indptr), shape=candidates.shape)


def _dense(matrix: Any, rows: Tensor) -> Tensor:
    return torch.from_numpy(matrix[rows.numpy()].toarray())
