"""All pairs of short lists, compared by the sigmoid of their score difference."""

import torch
from torch import Tensor

# so many temperatures apart nothing changes any more, but numbers are not yet so small that a CPU stumbles over them
_SATURATED = 80


def compared(scores: Tensor, temperature: float) -> Tensor:
    r"""The sigmoids :math:`\sigma((s_i - s_j) / \tau)` of lists ``(Q, C)``: ``(Q, C, C)``."""
    distances = torch.sub(scores[:, :, None], scores[:, None, :]).div_(temperature)
    return distances.clamp_(-_SATURATED, _SATURATED).sigmoid_()


def slopes_of(above: Tensor) -> Tensor:
    """The slopes ``(Q, C, C)`` of sigmoids, of oneself 0."""
    slopes = above * above.mT  # 1 - above would lose the digits of what is far below
    slopes.diagonal(dim1=1, dim2=2).zero_()  # or the small ones next to it would lose theirs
    return slopes
