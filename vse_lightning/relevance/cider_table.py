"""CIDEr-D as sparse products."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.relevance.index import CaptionIndex
from vse_lightning.relevance.ngrams import IntArray, NgramOccurrences
from vse_lightning.relevance.table import RelevanceTable

FREQUENT_SHARE = 1 / 16  # of the captions; columns denser than this are cheaper in a dense product
PAIRS_PER_STEP = 1 << 22


class CIDErTable(RelevanceTable):
    r"""CIDEr-D of texts with the captions of images as references; :class:`CIDErRelevance` has the equation.

    For counts :math:`c` and :math:`r` of an n-gram, :math:`\min(c, r) = \sum_t [c \ge t]\,[r \ge t]`: the t-th
    occurrence of an n-gram in the text meets the t-th in the reference. So a column is "the t-th occurrence of g", and
    the sum over all n-grams is one product of sparse matrices, with :math:`\mathrm{idf}_g / \lVert c \rVert` as the
    entry of a candidate and :math:`r\,\mathrm{idf}_g / \lVert r \rVert` as that of a reference. Columns that occur in
    the captions of one image only are dropped, since relevance to the own image is 1 whatever they hold; the few
    columns that many captions share are multiplied densely.

    Args:
        occurrences: the n-grams of the captions, for each order from 1.
        idf: for each order, the IDF of each n-gram.
        image_ids: ``(M,)`` int64, the image that each caption describes.
        text_ids: ``(M,)`` int64, the id of each caption; default ``0 ... M-1``.
        sigma: width of the length penalty.
        label: the name of the source.
    """

    def __init__(
        self,
        occurrences: Sequence[NgramOccurrences],
        idf: Sequence[NDArray[np.float64]],
        image_ids: Tensor,
        text_ids: Tensor | None = None,
        *,
        sigma: float,
        label: str,
    ) -> None:
        self.label = label
        self._sigma = sigma
        self._index = CaptionIndex(image_ids, text_ids)
        bigram_captions = occurrences[1].captions if len(occurrences) > 1 else np.empty(0, dtype=np.int64)
        self._lengths = torch.from_numpy(np.bincount(bigram_captions, minlength=len(image_ids))).float()
        images = image_ids.numpy(force=True)
        entries = _join([_weigh(found, weights, images) for found, weights in zip(occurrences, idf, strict=True)])
        entries.candidates[:] /= len(occurrences)
        frequent = np.bincount(entries.columns) > FREQUENT_SHARE * len(images)
        self._rare_candidates, self._rare_references = _matrices(entries, ~frequent, len(images))
        self._frequent_candidates, self._frequent_references = _matrices(entries, frequent, len(images))

    @torch.no_grad()
    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts, computed on the CPU; see :meth:`RelevanceTable.block`."""
        found = self._index.find(image_ids.cpu(), text_ids.cpu(), captions_per_image)
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
        return relevance.masked_fill_(found.own, 1).to(image_ids.device)


class _Entries(NamedTuple):
    """Entries of the two matrices, which differ in their values only."""

    captions: IntArray
    columns: IntArray
    candidates: NDArray[np.float32]
    references: NDArray[np.float32]


def _weigh(found: NgramOccurrences, idf: NDArray[np.float64], images: IntArray) -> _Entries:
    """The entries of the n-grams of one order."""
    size = max(1, len(idf))  # there may be no n-grams of this order
    keys = np.sort(found.captions * size + found.ngrams)
    captions, ngrams = np.divmod(keys, size)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(np.append(starts, len(keys)))
    turns = np.arange(len(keys)) - np.repeat(starts, counts)
    counts = np.repeat(counts, counts)
    weights = idf[ngrams]
    # Each of the c occurrences adds c idf^2, all together (c idf)^2.
    norms = np.sqrt(np.bincount(captions, counts * weights**2, minlength=len(images)))[captions]

    columns = ngrams.copy()  # of first occurrences; later ones have columns of their own
    columns[turns > 0] = size + np.unique((turns * size + ngrams)[turns > 0], return_inverse=True)[1]
    kept = np.flatnonzero(_is_shared(columns, images[captions]) & (weights > 0))
    values = (weights[kept] / norms[kept]).astype(np.float32)
    columns = np.unique(columns[kept], return_inverse=True)[1]
    return _Entries(captions[kept], columns, values, values * counts[kept].astype(np.float32))


def _is_shared(columns: IntArray, images: IntArray) -> NDArray[np.bool_]:
    """Whether the column of each entry occurs with several images."""
    width = columns.max(initial=-1) + 1
    some_image = np.empty(width, dtype=np.int64)
    some_image[columns] = images
    shared = np.zeros(width, dtype=bool)
    shared[columns[images != some_image[columns]]] = True
    return shared[columns]


def _join(orders: Sequence[_Entries]) -> _Entries:
    """The entries of all orders, side by side, in the order of the captions."""
    widths = [entries.columns.max(initial=-1) + 1 for entries in orders]
    offsets = np.cumsum([0, *widths[:-1]])
    captions, columns, candidates, references = (np.concatenate(parts) for parts in zip(*orders, strict=True))
    columns += np.repeat(offsets, [len(entries.columns) for entries in orders])
    order = np.argsort(captions, kind="stable")
    return _Entries(captions[order], columns[order], candidates[order], references[order])


def _matrices(entries: _Entries, wanted: NDArray[np.bool_], count: int) -> tuple[Any, Any]:
    """Candidates and references as scipy CSR matrices ``(count, wanted columns)`` that share their structure."""
    from scipy.sparse import csr_matrix

    kept = np.flatnonzero(wanted[entries.columns])
    starts = np.append(0, np.cumsum(np.bincount(entries.captions[kept], minlength=count)))
    places = (np.cumsum(wanted) - 1)[entries.columns[kept]]
    shape = (count, int(wanted.sum()))
    candidates = csr_matrix((entries.candidates[kept], places, starts), shape=shape)
    return candidates, csr_matrix((entries.references[kept], candidates.indices, candidates.indptr), shape=shape)


def _dense(matrix: Any, rows: Tensor) -> Tensor:
    return torch.from_numpy(matrix[rows.numpy()].toarray())
