"""Word vectors and a GRU as the text encoder, as in VSE++."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_share, require_text, require_whole
from vse_lightning.models.checkpoints.recipes import Rebuildable
from vse_lightning.models.checkpoints.restoring import is_restoring
from vse_lightning.models.encoders._pooling import Pooling
from vse_lightning.models.encoders._recurrent import PaddedGRU
from vse_lightning.models.preprocessing.captions import FIRST_WORD, PADDING, WordNumberer, count_words
from vse_lightning.words import Tokenizer, splitter, tokenizer_name, warn_of_single_words

_UNFITTED = "GRUTextEncoder has no vocabulary yet: call fit(training_captions), or load a state dict that brings one"


class GRUTextEncoder(Rebuildable, nn.Module):
    """Encodes captions with its own vocabulary, word vectors and a GRU.

    The vocabulary comes from ``fit``, which must see training captions only, and travels in the state dict: a
    checkpoint restores it. A caption's embedding does not depend on the other captions of its batch.

    Args:
        word_dim: width of the word vectors.
        embed_dim: width of the GRU and of the embedding.
        bidirectional: whether a second GRU reads the captions backwards; the directions are averaged.
        pooling: ``"last"`` (the last state, as VSE++), or ``"mean"``, ``"max"`` or ``"gpo"`` over the states of all
            words.
        dropout: share of the word vectors' values zeroed in training.
        max_length: words after so many are cut off.
        min_count: words rarer than this in the training captions are unknown. VSE++ takes 4; 1 leaves the vector of
            unknown words untrained.
        vectors: text file of initial word vectors (GloVe, word2vec or fastText), ``word_dim`` wide. Words it lacks
            start at random. Needed only when training starts.
        tokenizer: splits a caption into words, such as ``jieba.lcut``; default
            :func:`~vse_lightning.words.words_of`, whose words are characters in scripts without spaces.

    References:
        Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018.

    Example:
        >>> encoder = GRUTextEncoder(word_dim=8, embed_dim=16, min_count=1)
        >>> encoder.fit(["a black dog", "a red ball"])
        >>> encoder(encoder.transform()(["a dog", "the red ball"])).shape
        torch.Size([2, 16])
    """

    @typed
    def __init__(
        self,
        word_dim: int = 300,
        embed_dim: int = 1024,
        bidirectional: bool = False,
        pooling: Literal["last", "mean", "max", "gpo"] = "last",
        dropout: float = 0.0,
        max_length: int = 64,
        min_count: int = 4,
        vectors: str | Path | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__()
        for name, size in {"word_dim": word_dim, "embed_dim": embed_dim, "max_length": max_length}.items():
            require_whole(name, size)
        require_whole("min_count", min_count)
        require_share("dropout", dropout)
        self.word_dim = word_dim
        self.embed_dim = embed_dim
        self.max_length = max_length
        self.min_count = min_count
        self.vectors = None if vectors is None or is_restoring() else str(vectors)
        if self.vectors is not None and not Path(self.vectors).is_file():
            raise FileNotFoundError(f"vectors must be a text file of word vectors, found no file {self.vectors!r}")
        self.tokenizer = tokenizer
        self._split = splitter(tokenizer)
        self.vocabulary: list[str] = []
        self.word_vectors: nn.Embedding | None = None
        self.dropout = nn.Dropout(dropout)
        self.gru = PaddedGRU(word_dim, embed_dim, bidirectional)
        self.pooling = None if pooling == "last" else Pooling(pooling)

    def fit(self, captions: Sequence[str]) -> None:
        """Make the vocabulary and its word vectors from the training captions; a second call does nothing.

        Raises:
            ValueError: if a caption is no text, no word occurs ``min_count`` times, or the file of vectors does not
                fit.
        """
        if self.word_vectors is not None:
            return
        require_text("captions", captions)
        warn_of_single_words("GRUTextEncoder", captions, self._split)
        vocabulary = count_words(captions, self.min_count, self._split)
        message = "no word occurs min_count={} times in the {} training captions"
        require(bool(vocabulary), message, self.min_count, len(captions))
        initial = self._initial_vectors(vocabulary)
        embedding = self._set_vocabulary(vocabulary)
        with torch.no_grad():
            for number, word in enumerate(vocabulary, start=FIRST_WORD):
                if word in initial:
                    embedding.weight[number] = initial[word]

    def transform(self) -> WordNumberer:
        """The callable that turns a list of captions into what ``forward`` takes, once there is a vocabulary."""
        if self.word_vectors is None:
            raise RuntimeError(_UNFITTED)
        return WordNumberer(self.vocabulary, self.max_length, self.tokenizer)

    def forward(self, text: Tensor) -> Tensor:
        """Embeddings ``(M, embed_dim)``, not normalised, of captions as :meth:`transform` makes them.

        These are word numbers, int64 ``(M, words)``, padded on the right with 0.
        """
        if self.word_vectors is None:
            raise RuntimeError(_UNFITTED)
        if not isinstance(text, Tensor):
            raise TypeError(f"text must be the tensor that transform() makes of captions, got {type(text).__name__}")
        valid = text != PADDING
        states, last = self.gru(self.dropout(self.word_vectors(text)), valid.sum(1).clamp(min=1))
        embeds: Tensor = last if self.pooling is None else self.pooling(states, valid)
        return embeds

    def get_extra_state(self) -> dict[str, Any]:
        """The vocabulary and what made it, for the state dict."""
        return {"vocabulary": self.vocabulary, "tokenizer": tokenizer_name(self.tokenizer)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the vocabulary of a state dict; PyTorch calls this before it loads the word vectors."""
        own = tokenizer_name(self.tokenizer)
        same = not state["vocabulary"] or state["tokenizer"] == own
        message = "tokenizer must be the one that made the vocabulary of the checkpoint, {}, got {}"
        require(same, message, state["tokenizer"], own)
        if state["vocabulary"] != self.vocabulary:
            self._set_vocabulary(state["vocabulary"])

    def _set_vocabulary(self, vocabulary: list[str]) -> nn.Embedding:
        embedding = nn.Embedding(FIRST_WORD + len(vocabulary), self.word_dim)
        nn.init.uniform_(embedding.weight, -0.1, 0.1)  # as VSE++
        beside = next(self.gru.parameters())
        self.word_vectors = embedding.to(beside.device, beside.dtype)
        self.vocabulary = vocabulary
        return self.word_vectors

    def _initial_vectors(self, vocabulary: list[str]) -> dict[str, Tensor]:
        if self.vectors is None:
            return {}
        found = read_word_vectors(self.vectors, vocabulary, self.word_dim)
        if not found:
            raise ValueError(f"vectors={self.vectors!r} has none of the {len(vocabulary)} words of the captions")
        rank_zero_info(
            f"{self.vectors} has vectors for {len(found)} of the {len(vocabulary)} words "
            f"({len(found) / len(vocabulary):.1%}); the others start at random"
        )
        return found


def read_word_vectors(path: str | Path, words: Sequence[str], dim: int) -> dict[str, Tensor]:
    """Vectors ``(dim,)`` of those ``words`` that the file knows, which GloVe, word2vec or fastText wrote.

    One line is a word and its ``dim`` numbers, separated by spaces; a first line with two numbers (the size of the
    table, as word2vec and fastText write it) is skipped. The file is read line by line, never held.
    """
    wanted = set(words)
    vectors: dict[str, Tensor] = {}
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            # From the right: some of GloVe's words contain spaces.
            word, *values = line.rstrip().rsplit(" ", dim)
            if number == 1 and len(line.split()) == 2 and dim != 1:
                continue
            if len(values) != dim or (number <= 2 and " " in word):
                raise ValueError(
                    f"word_dim={dim} asks for vectors of {dim} numbers, "
                    f"but line {number} of {path} has {len(line.split()) - 1} after the word"
                )
            if word in wanted:
                vectors[word] = _numbers(values, number, path)
    return vectors


def _numbers(values: list[str], line: int, path: str | Path) -> Tensor:
    try:
        vector = torch.tensor([float(value) for value in values])
    except ValueError as error:
        raise ValueError(f"line {line} of {path} must hold a word and numbers: {error}") from error
    require(bool(vector.isfinite().all()), "line {} of {} must hold finite numbers, got NaN or infinity", line, path)
    return vector
