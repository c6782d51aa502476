"""Words and n-grams of captions as numbers, and CIDEr-D as products of sparse matrices of them."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vse_lightning.words import words_of

WORD_BITS = 32
LENGTH_ORDER = 2  # the length of a caption is its number of bigrams


class Ngrams(NamedTuple):
    """The n-grams of one order: which there are, and where they occur.

    An n-gram is a pair: the number of all its words but the last, as an n-gram of the order below, in the upper bits,
    and the number of the last word in the lower :data:`WORD_BITS`. (A word is the empty n-gram, 0, and itself.)
    """

    pairs: NDArray[np.int64]  # the different n-grams, ascending; an n-gram's number is its place
    captions: NDArray[np.int32]  # of each occurrence: the row of the caption, ascending
    numbers: NDArray[np.int32]  # and the number of the n-gram; one that a caption has twice is there twice


def find_ngrams(
    captions: Sequence[str], max_order: int, split: Callable[[str], list[str]] = words_of
) -> tuple[dict[str, int], Iterator[Ngrams]]:
    """Number the words and n-grams of captions, and find all their occurrences.

    Returns:
        The number of each word, and the n-grams of each order from 1 to ``max_order`` words: one at a time, because all
        together are large.

    Example:
        >>> words, orders = find_ngrams(["a cat", "a cat a cat"], max_order=2)
        >>> words
        {'a': 0, 'cat': 1}
        >>> unigrams, bigrams = orders
        >>> bigrams.captions.tolist(), bigrams.numbers.tolist()
        ([0, 1, 1, 1], [0, 0, 1, 0])
    """
    words: dict[str, int] = {}
    tokens, lengths = array("i"), array("i")
    for caption in captions:
        numbers = [words.setdefault(word, len(words)) for word in split(caption)]
        tokens.extend(numbers)
        lengths.append(len(numbers))
    caption_of = np.repeat(np.arange(len(captions), dtype=np.int32), np.frombuffer(lengths, dtype=np.int32))
    return words, _orders(np.frombuffer(tokens, dtype=np.int32), caption_of, len(words), max_order)


def _orders(word: NDArray[np.int32], caption_of: NDArray[np.int32], words: int, max_order: int) -> Iterator[Ngrams]:
    yield Ngrams(np.arange(words), caption_of, word)
    padded = np.append(caption_of, np.full(max_order - 1, -1, dtype=np.int32))  # n-grams do not run over the end
    start, ngram = np.arange(len(word), dtype=np.int32), word
    for reach in range(1, max_order):
        inside = padded[start + reach] == caption_of[start]
        start = start[inside]
        pairs, places = np.unique(_pair(ngram[inside], word[start + reach]), return_inverse=True)
        ngram = places.astype(np.int32)
        del places
        yield Ngrams(pairs, caption_of[start], ngram)


@dataclass(frozen=True)
class NgramVocabulary:
    """The numbers that words and n-grams have, to find them among other captions."""

    words: dict[str, int]
    pairs: list[NDArray[np.int64]]  # the n-grams of each order from 1, as Ngrams has them

    def numbers_of(self, words: dict[str, int], orders: Iterator[Ngrams]) -> Iterator[tuple[Ngrams, NDArray[np.int64]]]:
        """N-grams of other captions, each order with the numbers that its n-grams have here, -1 for those unknown."""
        last = np.array([self.words.get(word, -1) for word in words], dtype=np.int64)
        below = np.zeros(1, dtype=np.int64)
        for own_pairs, ngrams in zip(self.pairs, orders, strict=True):
            pairs = _pair(below[ngrams.pairs >> WORD_BITS], last[ngrams.pairs & ((1 << WORD_BITS) - 1)])
            below = _places(own_pairs, pairs)  # a pair of which either half is -1 is negative, hence not there
            yield ngrams, below


def _pair(ngram: NDArray[np.integer], word: NDArray[np.integer]) -> NDArray[np.int64]:
    return (ngram.astype(np.int64) << WORD_BITS) | word


def _places(own_pairs: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where pairs are among the sorted own ones, -1 for those that are not."""
    places = np.searchsorted(own_pairs, pairs)
    places[places == len(own_pairs)] = -1
    same = own_pairs[places] == pairs if len(own_pairs) else np.zeros(len(pairs), dtype=bool)
    return np.where(same, places, -1)


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
