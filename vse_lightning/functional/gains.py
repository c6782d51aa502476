"""What finding a relevant candidate is worth, for the loss and the metric alike."""

import torch
from torch import Tensor

GAINS = ("exponential", "linear")


def gains_of(relevance: Tensor, gain: str) -> Tensor:
    """2^relevance - 1 (``"exponential"``) or the relevance (``"linear"``)."""
    return torch.exp2(relevance) - 1 if gain == "exponential" else relevance
