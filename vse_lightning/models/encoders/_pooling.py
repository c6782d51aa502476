"""What encoders end with: a set of vectors pooled to one, by mean, max or generalized pooling, and a projection."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vse_lightning.checks import require_one_of
from vse_lightning.models.encoders._recurrent import PaddedGRU

PoolingKind = Literal["mean", "max", "gpo"]
POOLING_KINDS: tuple[str, ...] = get_args(PoolingKind)


class Pooling(nn.Module):
    """Pool the valid vectors of each set, one dimension at a time.

    - ``"mean"`` and ``"max"`` as their names say.
    - ``"gpo"``: the Generalized Pooling Operator. Each dimension's values are sorted in descending order and summed
      with weights that a small bidirectional GRU gives to the ranks; they depend on the size of the set alone.

    A set without any valid vector pools to zeros.

    References:
        Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding" (VSE-infinity), CVPR 2021,
        section 3. Sizes of the GRU (32) and softmax temperature (0.1) as in the released code.

    Relations:
        GPO with equal weights is the mean; with all the weight on the first rank it is the maximum.

    Example:
        >>> import torch
        >>> words, valid = torch.tensor([[[1.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]])
        >>> Pooling("mean")(words, valid), Pooling("max")(words, valid)
        (tensor([[2.5000]]), tensor([[4.]]))
    """

    def __init__(self, kind: PoolingKind) -> None:
        super().__init__()
        require_one_of("pooling", kind, POOLING_KINDS)
        self.kind = kind
        self.rank_weights = RankWeights() if kind == "gpo" else None

    def forward(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        """Pool each set ``(B, L, D)``, of which the ``valid (B, L)`` vectors count, by default all: ``(B, D)``."""
        if valid is None:
            valid = torch.ones(1, vectors.shape[1], dtype=torch.bool, device=vectors.device)
        sizes, invalid = valid.sum(1), ~valid.unsqueeze(-1)
        if self.kind == "mean":
            return vectors.masked_fill(invalid, 0).sum(1) / sizes.clamp(min=1).unsqueeze(-1)
        lowest = vectors.masked_fill(invalid, torch.finfo(vectors.dtype).min)
        if self.rank_weights is None:
            return lowest.amax(1).masked_fill((sizes == 0).unsqueeze(-1), 0)
        # Sorted, the invalid vectors stand behind the last valid rank, where the weights are 0.
        ranked = lowest.sort(dim=1, descending=True).values
        weights: Tensor = self.rank_weights(sizes, vectors.shape[1])
        return (ranked * weights.unsqueeze(-1)).sum(1).to(vectors.dtype)


class RankWeights(nn.Module):
    """Weights of the ranks of a set by its size: a softmax over their sinusoidal encodings, read by a BiGRU."""

    def __init__(self, encoding_dim: int = 32, hidden_dim: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoding_dim = encoding_dim
        self.temperature = temperature
        self.gru = PaddedGRU(encoding_dim, hidden_dim, bidirectional=True)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def forward(self, sizes: Tensor, num_ranks: int) -> Tensor:
        """Weigh the ranks of sets with ``sizes (B,)`` members: ``(B, num_ranks)``, rows sum to 1, 0 beyond the size."""
        encodings = sinusoidal_encodings(num_ranks, self.encoding_dim).to(self.score.weight)
        states, _ = self.gru(encodings.expand(sizes.shape[0], -1, -1), sizes.clamp(min=1))
        beyond = torch.arange(num_ranks, device=sizes.device) >= sizes.unsqueeze(1)
        scores: Tensor = self.score(states).squeeze(-1)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) / self.temperature
        # Not minus infinity: the softmax of an empty set would be NaN, and so would its gradient.
        return scores.masked_fill(beyond, torch.finfo(scores.dtype).min).softmax(1).masked_fill(beyond, 0)


def sinusoidal_encodings(length: int, dim: int) -> Tensor:
    """Sine and cosine encodings ``(length, dim)`` of the positions, interleaved.

    References:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5.
    """
    frequencies = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(length).unsqueeze(1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def projection(input_dim: int, embed_dim: int) -> nn.Linear:
    """A linear layer that starts as in VSE++: Glorot-uniform weights and a bias of zeros."""
    linear = nn.Linear(input_dim, embed_dim)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
