"""Subword tokens of captions."""

from typing import Any

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
    """

    def __init__(self, tokenizer_json: str, padding_id: int, max_length: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        self.padding_id = padding_id

    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Tokenise ``M`` captions: ``input_ids`` and ``attention_mask``, int64 ``(M, tokens of the longest)``."""
        rows = [torch.tensor(self.tokenizer.encode(caption).ids) for caption in captions]
        return {
            "input_ids": pad_sequence(rows, batch_first=True, padding_value=self.padding_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        }

    def state(self) -> dict[str, Any]:
        """What the tokenizer is made of, apart from ``max_length``: plain values for a state dict."""
        return {"tokenizer_json": self.tokenizer.to_str(), "padding_id": self.padding_id}
