from collections import Counter

import numpy as np
import pytest

from vse_lightning.relevance._ngrams import WORD_BITS, NgramVocabulary, find_ngrams
from vse_lightning.words import words_of

CAPTIONS = ["A man, a man and a MAN.", "", "A", "...", "the man's dog_2 runs", "a man and a dog", "über café 犬"]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Two dogs -- one ball.", ["two", "dogs", "one", "ball"]),
        ("The boy's T-shirt_3", ["the", "boy's", "t", "shirt", "3"]),
        ("Über CAFÉ 犬 ½", ["über", "café", "犬", "½"]),
        (" .,; ", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_digits_and_apostrophes(caption, words):
    assert words_of(caption) == words


def corpus(captions, max_order):
    words, orders = find_ngrams(captions, max_order)
    return words, list(orders)


def spell(words, orders, order, number):
    """The words of an n-gram, from its number."""
    if order == 0:
        return ()
    pair = int(orders[order - 1].pairs[number])
    return (*spell(words, orders, order - 1, pair >> WORD_BITS), list(words)[pair & ((1 << WORD_BITS) - 1)])


@pytest.mark.parametrize("max_order", [1, 2, 4, 9])
def test_occurrences_are_those_of_a_loop(max_order):
    words, orders = corpus(CAPTIONS, max_order)
    assert len(orders) == max_order
    for order, found in enumerate(orders, start=1):
        expected = Counter()
        for row, caption in enumerate(CAPTIONS):
            tokens = words_of(caption)
            expected.update((row, tuple(tokens[i : i + order])) for i in range(len(tokens) - order + 1))
        pairs = zip(found.captions.tolist(), found.numbers.tolist(), strict=True)
        assert Counter((row, spell(words, orders, order, number)) for row, number in pairs) == expected
        assert (np.diff(found.captions) >= 0).all()
        assert (np.diff(found.pairs) > 0).all()


def numbers_in(theirs, mine):
    vocabulary = NgramVocabulary(theirs[0], [found.pairs for found in theirs[1]])
    return [numbers.tolist() for _, numbers in vocabulary.numbers_of(mine[0], iter(mine[1]))]


def test_numbers_in_another_vocabulary():
    mine = corpus([*CAPTIONS, "a dog and a man", "new words here"], 3)
    theirs = corpus(CAPTIONS, 3)
    for order, numbers in enumerate(numbers_in(theirs, mine), start=1):
        known = {spell(*theirs, order, number): number for number in range(len(theirs[1][order - 1].pairs))}
        spelled = [spell(*mine, order, number) for number in range(len(mine[1][order - 1].pairs))]
        assert numbers == [known.get(words, -1) for words in spelled]


def test_numbers_in_a_vocabulary_without_long_ngrams():
    assert numbers_in(corpus(["a", "b"], 3), corpus(["a b c"], 3)) == [[0, 1, -1], [-1, -1], [-1]]
