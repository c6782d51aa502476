"""Words of captions and their numbers."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from lightning.fabric.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vse_lightning.words import Tokenizer, splitter, words_of

PADDING = 0
UNKNOWN = 1
FIRST_WORD = 2


def count_words(captions: Iterable[str], min_count: int, split: Callable[[str], list[str]] = words_of) -> list[str]:
    """Words that occur at least ``min_count`` times, the most frequent first, equals in alphabetical order.

    Example:
        >>> count_words(["a dog", "a cat", "the cat"], min_count=2)
        ['a', 'cat']
    """
    counts = Counter(word for caption in captions for word in split(caption))
    frequent = [word for word, count in counts.items() if count >= min_count]
    return sorted(frequent, key=lambda word: (-counts[word], word))


class WordNumberer:
    """Turns captions into word numbers: 0 is padding, 1 any unknown word, then the vocabulary in its order.

    Words after ``max_length`` are cut off; a caption without a word becomes one unknown word. Small and picklable, so
    that data workers can hold it. Warns once where none of the captions that it is given together has a known word.

    Example:
        >>> number = WordNumberer(["a", "dog"], max_length=3)
        >>> number(["A dog.", "dog, a purple one", "..."])
        tensor([[2, 3, 0],
                [3, 2, 1],
                [1, 0, 0]])
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int, tokenizer: Tokenizer | None = None) -> None:
        self.numbers = {word: number for number, word in enumerate(vocabulary, start=FIRST_WORD)}
        self.max_length = max_length
        self.tokenizer = tokenizer
        self.draws = tokenizer is not None  # at random, as one of the user's might: the data module then seeds it
        self._split = splitter(tokenizer)
        self._warned = False

    def __call__(self, captions: list[str]) -> Tensor:
        """Number ``M`` captions: int64 ``(M, words of the longest)``, padded on the right."""
        rows = [
            [self.numbers.get(word, UNKNOWN) for word in self._split(caption)[: self.max_length]] or [UNKNOWN]
            for caption in captions
        ]
        if not self._warned and all(max(row) == UNKNOWN for row in rows):
            self._warned = True
            rank_zero_warn(
                f"GRUTextEncoder: {len(captions)} captions together have none of the {len(self.numbers):,} words of "
                f"the vocabulary, so that it cannot tell them apart; the first is {captions[0]!r}. Was it trained on "
                "the same language, and does tokenizer= suit it?"
            )
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PADDING)
