"""Words of captions and their numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

PADDING = 0
UNKNOWN = 1
FIRST_WORD = 2

_WORD = re.compile(r"(?:[^\W_]|')+")


def words_of(caption: str) -> list[str]:
    """Lower-cased runs of letters, digits and apostrophes.

    Example:
        >>> words_of("A man's T-shirt: No. 7!")
        ['a', "man's", 't', 'shirt', 'no', '7']
    """
    return _WORD.findall(caption.lower())


def count_words(captions: Iterable[str], min_count: int) -> list[str]:
    """Words that occur at least ``min_count`` times, the most frequent first, equals in alphabetical order.

    Example:
        >>> count_words(["a dog", "a cat", "the cat"], min_count=2)
        ['a', 'cat']
    """
    counts = Counter(word for caption in captions for word in words_of(caption))
    frequent = [word for word, count in counts.items() if count >= min_count]
    return sorted(frequent, key=lambda word: (-counts[word], word))


class WordNumberer:
    """Turns captions into word numbers: 0 is padding, 1 any unknown word, then the vocabulary in its order.

    A caption without a word becomes one unknown word. Small and picklable, so that data workers can hold it.

    Args:
        vocabulary: the known words.
        max_length: words after so many are cut off.

    Example:
        >>> number = WordNumberer(["a", "dog"], max_length=3)
        >>> number(["A dog.", "dog, a purple one", "..."])
        tensor([[2, 3, 0],
                [3, 2, 1],
                [1, 0, 0]])
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int) -> None:
        self.numbers = {word: number for number, word in enumerate(vocabulary, start=FIRST_WORD)}
        self.max_length = max_length

    def __call__(self, captions: list[str]) -> Tensor:
        """Number ``M`` captions: int64 ``(M, words of the longest)``, padded on the right."""
        rows = [
            [self.numbers.get(word, UNKNOWN) for word in words_of(caption)[: self.max_length]] or [UNKNOWN]
            for caption in captions
        ]
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PADDING)
