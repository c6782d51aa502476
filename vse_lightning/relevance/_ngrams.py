"""Words and n-grams of captions as numbers."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vse_lightning.words import words_of

WORD_BITS = 32


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
