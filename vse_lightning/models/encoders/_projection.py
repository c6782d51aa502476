"""The linear projection into the joint space."""

from torch import nn


def projection(input_dim: int, embed_dim: int) -> nn.Linear:
    """A linear layer that starts as in VSE++: Glorot-uniform weights and a bias of zeros."""
    linear = nn.Linear(input_dim, embed_dim)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
