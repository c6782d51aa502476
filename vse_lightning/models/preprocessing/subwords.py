"""Subword tokens of captions."""

from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


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
