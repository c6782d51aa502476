"""The logarithm of a sum of exponentials over some candidates of a list."""

import torch
from torch import Tensor

# so many temperatures below the highest nothing counts any more, but a CPU does not stumble over tiny numbers yet
_NOTHING = 80


def log_sum_exp(scores: Tensor, listed: Tensor, temperature: float) -> Tensor:
    r""":math:`\tau \log \sum_{j} e^{s_j / \tau}` over the listed of each row; 0 where nothing is listed.

    Shape:
        - ``scores``: ``(Q, C)`` float; ``listed``: ``(Q, C)`` bool; ``temperature``: above 0.
        - Output: ``(Q,)``.
    """
    highest = scores.detach().masked_fill(~listed, -torch.inf).amax(1, keepdim=True)
    nothing = highest == -torch.inf
    highest = highest.masked_fill(nothing, 0)
    # the highest itself lies inside the clamp, whose border has no gradient
    terms = ((scores - highest) / temperature).clamp(-_NOTHING, 1).exp() * listed
    return (highest + temperature * (terms.sum(1, keepdim=True) + nothing).log())[:, 0]
