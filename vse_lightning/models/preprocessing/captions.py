"""Captions as numbers: of the words of a vocabulary of one's own, or of a Hugging Face model's subwords."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

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


class SubwordTokenizer:
    """Turns captions into the token tensors of a Hugging Face text model.

    It holds the fast tokenizer alone: no weights, picklable for data workers. Captions are tokenised one by one,
    because batches start threads, of which ``tokenizers`` warns when a data loader forks later.

    Args:
        tokenizer_json: the fast tokenizer, as ``tokenizers.Tokenizer.to_str`` writes it.
        padding_id: the token number that fills up shorter captions.
        max_length: tokens after so many are cut off, special tokens included.
        fill: side on which every caption is filled up to ``max_length``, where padding counts as text, as SigLIP was
            trained; ``None`` fills up to the longest of the batch, and a mask says what is padding.
    """

    draws = False  # nothing at random, so the data module need not seed it

    def __init__(
        self,
        tokenizer_json: str,
        padding_id: int,
        max_length: int,
        fill: Literal["left", "right"] | None = None,
    ) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.tokenizer.enable_truncation(max_length)
        if fill is None:
            self.tokenizer.no_padding()
        else:
            self.tokenizer.enable_padding(direction=fill, pad_id=padding_id, length=max_length)
        self.padding_id = padding_id
        self.max_length = max_length
        self.fill = fill

    @classmethod
    def of(cls, tokenizer: Any, max_length: int, fill: bool = False) -> Self:
        """As a fast tokenizer of ``transformers``; ``fill`` on its own side."""
        padding_id = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        side = tokenizer.padding_side if fill else None
        return cls(tokenizer.backend_tokenizer.to_str(), padding_id, max_length, side)

    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Tokenise ``M`` captions: ``input_ids`` and, unless filled, ``attention_mask``, int64 ``(M, tokens)``."""
        rows = [torch.tensor(self.tokenizer.encode(caption).ids) for caption in captions]
        tokens = {"input_ids": pad_sequence(rows, batch_first=True, padding_value=self.padding_id)}
        if self.fill is None:
            tokens["attention_mask"] = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return tokens

    def state(self) -> dict[str, Any]:
        """Its arguments: plain values for a state dict."""
        settings = {"padding_id": self.padding_id, "max_length": self.max_length, "fill": self.fill}
        return {"tokenizer_json": self.tokenizer.to_str(), **settings}
