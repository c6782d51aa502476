"""Initial word vectors from a text file as GloVe, word2vec and fastText write them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vse_lightning.checks import require


def read_word_vectors(path: str | Path, words: Sequence[str], dim: int) -> dict[str, Tensor]:
    """Vectors of those ``words`` that the file knows.

    One line is a word and its ``dim`` numbers, separated by spaces; a first line with two numbers (the size of the
    table, as word2vec and fastText write it) is skipped. The file is read line by line, never held.

    Returns:
        The word's vector ``(dim,)`` float32 for each word found.

    Raises:
        ValueError: if the vectors in the file are not ``dim`` wide or not finite numbers.
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
