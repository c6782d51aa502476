"""Words and n-grams of captions as numbers."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

WORD = re.compile(r"[\w']+")
WORD_BITS = 32


def tokenize(caption: str) -> list[str]:
    """Lower-cased runs of letters, digits and apostrophes.

    Example:
        >>> tokenize("The dog's ball_2 is RED.")
        ['the', "dog's", 'ball', '2', 'is', 'red']
    """
    return WORD.findall(caption.lower().replace("_", " "))


class NgramOccurrences(NamedTuple):
    """Where the n-grams of one order occur; an n-gram that occurs twice in a caption is there twice."""

    captions: IntArray  # the row of the caption, ascending
    ngrams: IntArray  # the number of the n-gram


@dataclass(frozen=True)
class NgramVocabulary:
    """Numbers of words and n-grams.

    Args:
        words: the number of each word.
        pairs: for the orders from 2 on, the n-grams as pairs: the number of all words but the last, as an n-gram of the
            order below, in the upper bits, and the number of the last word in the lower :data:`WORD_BITS`. They are
            sorted; an n-gram's number is its place.
    """

    words: dict[str, int]
    pairs: list[IntArray]

    def sizes(self) -> list[int]:
        """How many n-grams there are of each order."""
        return [len(self.words), *map(len, self.pairs)]

    def numbers_in(self, other: Self) -> list[IntArray]:
        """For each order, the numbers of the n-grams in another vocabulary, -1 for those that it lacks."""
        words = np.array([other.words.get(word, -1) for word in self.words], dtype=np.int64)
        numbers = [words]
        for mine, theirs in zip(self.pairs, other.pairs, strict=True):
            last = words[mine & ((1 << WORD_BITS) - 1)]
            wanted = _pair(numbers[-1][mine >> WORD_BITS], last)  # negative, hence not found, if either half is
            places = np.searchsorted(theirs, wanted)
            places[places == len(theirs)] = -1
            found = theirs[places] == wanted if len(theirs) else np.zeros(len(wanted), dtype=bool)
            numbers.append(np.where(found, places, -1))
        return numbers


def find_ngrams(captions: Sequence[str], max_order: int) -> tuple[NgramVocabulary, list[NgramOccurrences]]:
    """Number the words and n-grams of captions, and find all their occurrences.

    Args:
        captions: the captions.
        max_order: the number of words of the longest n-grams.

    Returns:
        The vocabulary, and the occurrences for each order from 1 to ``max_order``.

    Example:
        >>> vocabulary, (unigrams, bigrams) = find_ngrams(["a cat", "a cat a cat"], max_order=2)
        >>> vocabulary.words, vocabulary.sizes()
        ({'a': 0, 'cat': 1}, [2, 2])
        >>> bigrams.captions.tolist(), bigrams.ngrams.tolist()
        ([0, 1, 1, 1], [0, 0, 1, 0])
    """
    words: dict[str, int] = {}
    tokens, lengths = array("q"), array("q")
    for caption in captions:
        numbers = [words.setdefault(word, len(words)) for word in tokenize(caption)]
        tokens.extend(numbers)
        lengths.append(len(numbers))
    word = np.frombuffer(tokens, dtype=np.int64)
    caption_of = np.repeat(np.arange(len(captions)), np.frombuffer(lengths, dtype=np.int64))
    padded = np.append(caption_of, np.full(max_order - 1, -1))  # n-grams do not run over the end

    start, ngram = np.arange(len(word)), word
    pairs, occurrences = [], [NgramOccurrences(caption_of, word)]
    for reach in range(1, max_order):
        inside = padded[start + reach] == caption_of[start]
        start, ngram = start[inside], ngram[inside]
        distinct, ngram = np.unique(_pair(ngram, word[start + reach]), return_inverse=True)
        pairs.append(distinct)
        occurrences.append(NgramOccurrences(caption_of[start], ngram))
    return NgramVocabulary(words, pairs), occurrences


def _pair(ngram: IntArray, word: IntArray) -> IntArray:
    return (ngram << WORD_BITS) | word
