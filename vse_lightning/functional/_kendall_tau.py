"""Kendall's rank correlation tau-b of many pairs of lists at once, and the Coherent Score that is made of it."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from vse_lightning.checks import require_whole
from vse_lightning.functional.query_lists import as_relevance, as_scores
from vse_lightning.functional.ranking import Ranking

_ELEMENTS_AT_ONCE = 2**18  # what a round touches stays in the cache


def kendall_tau(x: Tensor, y: Tensor) -> Tensor:
    r"""Kendall's tau-b of the lists along the last dimension.

    .. math:: \tau_b = \frac{P - D}{\sqrt{(P + D + X)(P + D + Y)}}

    - :math:`P, D`: pairs that ``x`` and ``y`` order alike (concordant) and opposite (discordant)
    - :math:`X, Y`: pairs tied only in ``x``, only in ``y``

    Exact also with ties, in O(k log k) time and O(k) memory per list, without a loop over lists. The discordant pairs
    are the inversions of a permutation, counted bit by bit as in a wavelet tree.

    Args:
        x: ``(..., k)``.
        y: the same shape.

    Returns:
        ``(...,)`` in [-1, 1], in the dtype of ``x`` (half precision: float32); 0 where ``x`` or ``y`` is constant.

    Raises:
        ValueError: if the shapes differ, or there is a NaN.

    References:
        Kendall, "The treatment of ties in ranking problems", Biometrika 1945; Knight, "A computer method for
        calculating Kendall's tau with ungrouped data", JASA 1966 (counting by sorting).

    Relations:
        :func:`scipy.stats.kendalltau` takes one pair of lists at a time and returns NaN for a constant one.

    Example:
        >>> import torch
        >>> x = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
        >>> y = torch.tensor([[0.9, 0.8, 0.1, 0.3], [0.0, 0.0, 0.5, 0.7], [0.1, 0.2, 0.3, 0.4]])
        >>> kendall_tau(x, y)
        tensor([ 0.6667, -0.9129,  0.0000])
    """
    if x.shape != y.shape or x.ndim == 0:
        raise ValueError(f"x and y must be lists of the same shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    for name, lists in (("x", x), ("y", y)):
        if lists.sum().isnan() and lists.isnan().any():
            raise ValueError(f"{name} must hold numbers that can be ordered, got NaN")
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    length = x.shape[-1]
    if length < 2:
        return x.new_zeros(x.shape[:-1], dtype=dtype)
    rows = max(1, _ELEMENTS_AT_ONCE // length)
    blocks = zip(*(torch.split(lists.reshape(-1, length), rows) for lists in (x, y)), strict=True)
    return torch.cat([_tau(*block) for block in blocks]).to(dtype).view(x.shape[:-1])


def _tau(x: Tensor, y: Tensor) -> Tensor:
    surplus, x_untied, y_untied = kendall_counts(x, y)
    return (surplus / (x_untied.double().sqrt() * y_untied.double().sqrt()).clamp(min=1)).clamp(-1, 1)


def kendall_counts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Concordant minus discordant pairs of each row of ``x (Q, k)`` and ``y``, and pairs that do not tie in either."""
    x, y = _sort_by_both(x, y)
    x_changes, y_changes = x[:, 1:] != x[:, :-1], y[:, 1:] != y[:, :-1]
    # Ranking equal y in list order makes tied pairs no inversions.
    sorted_y, permutation = torch.sort(y, dim=1, descending=True, stable=True)
    num_pairs = x.shape[1] * (x.shape[1] - 1) // 2
    x_untied = num_pairs - _tied_pairs(x_changes)
    y_untied = num_pairs - _tied_pairs(sorted_y[:, 1:] != sorted_y[:, :-1])
    tied_in_both = _tied_pairs(x_changes | y_changes)
    return x_untied + y_untied - num_pairs + tied_in_both - 2 * _inversions(permutation), x_untied, y_untied


def _sort_by_both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sort both by ``x`` descending, ties by ``y`` descending; rows that are already strictly descending are left."""
    unsorted = (x[:, 1:] >= x[:, :-1]).any(dim=1).nonzero()[:, 0]
    if len(unsorted) == 0:
        return x, y
    y_rows, by_y = torch.sort(y[unsorted], dim=1, descending=True, stable=True)
    x_rows, by_x = torch.sort(x[unsorted].gather(1, by_y), dim=1, descending=True, stable=True)
    return x.index_copy(0, unsorted, x_rows), y.index_copy(0, unsorted, y_rows.gather(1, by_x))


def _tied_pairs(changes: Tensor) -> Tensor:
    """Pairs within the runs of a list, given where it ``changes (Q, k - 1)`` from one element to the next."""
    position = torch.arange(1, changes.shape[1] + 1, device=changes.device)
    tied = torch.zeros(len(changes), dtype=torch.int64, device=changes.device)
    rows = (~changes).any(dim=1).nonzero()[:, 0]
    if len(rows):
        start = torch.where(changes[rows], position, 0).cummax(dim=1).values
        tied[rows] = (position - start).sum(dim=1)
    return tied


def _inversions(permutation: Tensor) -> Tensor:
    """Number of pairs of each ``permutation (Q, k)`` of 0 .. k - 1 in which the larger element comes first.

    Elements that agree in all higher bits form a group in list order; a half of it lacks the next bit and goes first in
    the next round. Each inversion is seen once, as a one before a zero at the highest bit in which its elements differ.
    """
    num_lists, length = permutation.shape
    padded_length = 1 << (length - 1).bit_length()
    # The smallest integer that the padded length fits: the counting is bound by memory.
    dtype = torch.int16 if padded_length < 1 << 15 else torch.int32
    positions = torch.arange(padded_length, dtype=dtype, device=permutation.device)
    elements = pad(permutation.to(dtype), (0, padded_length - length))
    elements[:, length:] = positions[length:]
    inversions = torch.zeros(num_lists, dtype=torch.int64, device=permutation.device)
    half = padded_length // 2
    while half:
        ones = ((elements & half) != 0).to(dtype)
        ones_before = ones.cumsum(dim=1, dtype=dtype) - ones
        ones_before_group = positions // (2 * half) * half
        inversions += ((1 - ones) * (ones_before - ones_before_group)).sum(dim=1)
        place_of_zero = positions + ones_before_group - ones_before
        place_of_one = ones_before_group + half + ones_before
        place = place_of_zero + ones * (place_of_one - place_of_zero)
        elements = torch.empty_like(elements).scatter_(1, place.long(), elements)
        half //= 2
    return inversions


def coherent_score(scores: Tensor, relevance: Tensor, k: int) -> Tensor:
    """Kendall's tau-b between scores and relevance over each query's k best-scored candidates (CS@k).

    Args:
        scores: ``(Q, C)``, higher is closer.
        relevance: ``(Q, C)`` in [0, 1].
        k: cut-off, at least 2: one candidate has no order; larger than C means the whole list. Of candidates that tie
            across it the first ones are taken.

    Returns:
        ``(Q,)`` in [-1, 1], in the dtype of ``scores``; 0 where scores or relevance are constant among the k best.

    Raises:
        ValueError: if ``k`` is below 2, the shapes differ or relevance leaves [0, 1].

    References:
        Zhou et al., "Ladder Loss for Coherent Visual-Semantic Embedding", AAAI 2020, section 3.3; the released code
        computes tau with scipy, hence tau-b.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.5, 0.3, 0.1]])
        >>> coherent_score(scores, torch.tensor([[1.0, 0.2, 0.6, 0.1]]), k=4)
        tensor([0.6667])
        >>> coherent_score(scores, torch.tensor([[1.0, 0.2, 0.6, 0.1]]), k=2)
        tensor([1.])
    """
    scores = as_scores(scores)
    relevance = as_relevance(relevance, scores)
    require_whole("k", k, least=2)
    return coherent_score_of_ranking(Ranking.of(scores, relevance, listed=k), k)


def coherent_score_of_ranking(ranking: Ranking, k: int) -> Tensor:
    """:func:`coherent_score` of a ``ranking`` that lists at least the first k places."""
    lengths = ranking.num_candidates.clamp(max=min(k, ranking.scores.shape[1]))
    values = torch.zeros_like(ranking.scores[:, 0])
    for length in torch.unique(lengths).tolist():
        rows = lengths == length
        values[rows] = kendall_tau(ranking.scores[rows, :length], ranking.relevance[rows, :length])
    return values
