from collections import Counter

import numpy as np
import pytest

from vse_lightning.relevance.ngrams import WORD_BITS, find_ngrams, tokenize

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
    assert tokenize(caption) == words


def spell(vocabulary, order, ngram):
    """The words of an n-gram, from its number."""
    words = list(vocabulary.words)
    if order == 1:
        return (words[ngram],)
    pair = int(vocabulary.pairs[order - 2][ngram])
    return (*spell(vocabulary, order - 1, pair >> WORD_BITS), words[pair & ((1 << WORD_BITS) - 1)])


@pytest.mark.parametrize("max_order", [1, 2, 4, 9])
def test_occurrences_are_those_of_a_loop(max_order):
    vocabulary, occurrences = find_ngrams(CAPTIONS, max_order)
    assert len(occurrences) == len(vocabulary.sizes()) == max_order
    for order, found in enumerate(occurrences, start=1):
        expected = Counter()
        for row, caption in enumerate(CAPTIONS):
            words = tokenize(caption)
            expected.update((row, tuple(words[i : i + order])) for i in range(len(words) - order + 1))
        pairs = zip(found.captions.tolist(), found.ngrams.tolist(), strict=True)
        assert Counter((row, spell(vocabulary, order, ngram)) for row, ngram in pairs) == expected
        assert (np.diff(found.captions) >= 0).all()


def test_numbers_in_another_vocabulary():
    mine, _ = find_ngrams([*CAPTIONS, "a dog and a man", "new words here"], 3)
    theirs, _ = find_ngrams(CAPTIONS, 3)
    for order, numbers in enumerate(mine.numbers_in(theirs), start=1):
        known = {spell(theirs, order, ngram): ngram for ngram in range(theirs.sizes()[order - 1])}
        assert numbers.tolist() == [
            known.get(spell(mine, order, ngram), -1) for ngram in range(mine.sizes()[order - 1])
        ]


def test_numbers_in_a_vocabulary_without_long_ngrams():
    mine, _ = find_ngrams(["a b c"], 3)
    theirs, _ = find_ngrams(["a", "b"], 3)
    assert [numbers.tolist() for numbers in mine.numbers_in(theirs)] == [[0, 1, -1], [-1, -1], [-1]]
