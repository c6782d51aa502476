"""Candidates with equal scores."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def has_equal(ordered: Tensor) -> Tensor:
    """Which entries of sorted rows ``(Q, C)`` have an equal next to them."""
    same = ordered[:, 1:] == ordered[:, :-1]
    return pad(same, (0, 1)) | pad(same, (1, 0))


def last_places(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """The last place, from 1, of those that score as each place of the lists ``ordered (Q, C)``, best first.

    Returns:
        ``(Q, C)`` int64, how many candidates score at least as high, and the rows in which any tie.

    Example:
        >>> import torch
        >>> last_places(torch.tensor([[0.9, 0.5, 0.5], [0.9, 0.5, 0.1]]))
        (tensor([[1, 3, 3],
                [1, 2, 3]]), tensor([0]))
    """
    places = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    ties = ordered[:, 1:] == ordered[:, :-1]
    tied = ties.any(dim=1).nonzero()[:, 0]
    last = places.expand_as(ordered)
    if len(tied):
        ends = torch.where(pad(ties[tied], (0, 1)), len(places), places)
        last = last.index_copy(0, tied, ends.flip(1).cummin(dim=1).values.flip(1))
    return last, tied
