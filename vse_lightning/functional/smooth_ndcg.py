"""Smooth NDCG: a differentiable NDCG of the whole list, in memory linear in the list."""

import math
from typing import Any

import torch
from torch import Tensor

GAINS = ("exponential", "linear")


def gains_of(relevance: Tensor, gain: str) -> Tensor:
    """What finding a candidate is worth: 2^relevance - 1 (``"exponential"``) or the relevance (``"linear"``)."""
    return torch.exp2(relevance) - 1 if gain == "exponential" else relevance


def smooth_ndcg(
    scores: Tensor, relevance: Tensor, temperature: float = 0.01, gain: str = "exponential"
) -> tuple[Tensor, Tensor]:
    r"""Listwise loss 1 - NDCG with sigmoid ranks, over the whole list.

    .. math::
        \ell = 1 - \frac{1}{Z} \sum_j \frac{g_j}{\log_2(1 + \pi_j)}, \qquad
        \pi_j = 1 + \sum_{k \ne j} \sigma\Big(\frac{s_k - s_j}{\tau}\Big)

    - :math:`s` (``scores``), :math:`\tau` (``temperature``);
    - :math:`g_j`: the gain of the relevance :math:`r_j`, :math:`2^{r_j} - 1` or :math:`r_j` (``gain``);
    - :math:`Z`: the same sum over the list sorted by relevance. (The authors' code lets equally relevant candidates
      share an ideal rank, so that with several positives a perfect list still costs something; here it costs 0.)

    The value and the gradient by the scores are exact, computed together in blocks: beside a few (Q, C) matrices there
    is one block of at most 16 million comparisons, never a (Q, C, C) table. The gradient is kept from the forward pass,
    so there is no second derivative: asking for one is an error. The relevance is a constant.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float, relevance in [0, 1].
        - Output: total ``(Q,)`` in [0, 1] and count ``(Q,)``: 1, or 0 where nothing is relevant.

    References:
        Li et al., "Integrating Listwise Ranking into Pairwise-based Image-Text Retrieval", 2023 (S-NDCG).

    Relations:
        Tends to 1 - :func:`~vse_lightning.functional.ndcg_at_k` over the whole list as the temperature tends to 0. It
        collapses when it is the only loss: combine it with a triplet or contrastive term.

    Example:
        >>> import torch
        >>> total, count = smooth_ndcg(torch.tensor([[0.1, 0.9]]), torch.tensor([[1.0, 0.0]]))
        >>> total, count  # the relevant one comes second: 1 - 1 / log2(3)
        (tensor([0.3691]), tensor([1]))
    """
    with torch.no_grad():  # labels are constants
        gains = gains_of(relevance, gain)
        ideal_ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
        ideal = (_sorted(gains) / torch.log2(1 + ideal_ranks)).sum(1)
        relevant = ideal > 0
        shares = (gains / torch.where(relevant, ideal, 1)[:, None]).contiguous()
    with_gradient = torch.is_grad_enabled() and scores.requires_grad
    dcg, _ = _smooth_dcg(scores.contiguous(), shares, temperature, with_gradient)
    return torch.where(relevant, 1 - dcg, dcg), relevant.long()


def _sorted(gains: Tensor) -> Tensor:
    """Descending, as the integers that non-negative floats are in order, which a CPU sorts faster."""
    integer = torch.int64 if gains.dtype == torch.float64 else torch.int32
    return gains.view(integer).sort(1, descending=True).values.view(gains.dtype)


# entries of a block of comparisons: stays in the cache of a CPU, or keeps a GPU busy
_CPU_BLOCK, _LARGEST_BLOCK = 2**20, 2**24
# scores at most so many temperatures apart have e^(s / 2 temperature), the root of their odds, within float32
_ODDS_RANGE = 340


@torch.library.custom_op("vse_lightning::smooth_dcg", mutates_args=())
def _smooth_dcg(scores: Tensor, shares: Tensor, temperature: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    r"""Sum of shares / log2(1 + smooth rank) of each row, and its gradient by the scores, found on the way.

    With :math:`a_j` the derivative of the row's value by :math:`\pi_j`, and as :math:`\sigma'_{jm}` is symmetric, the
    gradient by :math:`s_m` is :math:`\sum_j (a_j - a_m) \sigma'_{jm} / \tau`. To torch.compile it is one operation.
    """
    lowest, highest = scores.aminmax(dim=1, keepdim=True)
    span = highest - lowest
    # so small a temperature that quotients overflow is raised: all that differs is saturated anyway
    temperatures = (span / (torch.finfo(scores.dtype).max / 4)).clamp(min=temperature)
    standing = (scores - lowest - span / 2) / temperatures
    # where looking costs no wait for the device: one exponential per candidate replaces one per comparison
    as_odds = scores.device.type == "cpu" and bool((span <= _ODDS_RANGE * temperatures).all())
    if as_odds:
        standing = (standing / 2).exp()
    gradient = torch.empty_like(scores) if with_gradient else None
    value = _dcg(standing, shares, as_odds, gradient)
    return value, scores.new_empty(0) if gradient is None else gradient.div_(temperatures)


@_smooth_dcg.register_fake
def _(scores: Tensor, shares: Tensor, temperature: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return scores.new_empty(len(scores)), torch.empty_like(scores) if with_gradient else scores.new_empty(0)


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _apply_gradient(ctx: Any, upstream: Tensor | None, of_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    if of_gradient is not None:
        raise RuntimeError(
            "smooth_ndcg has no second derivative, its gradient comes with its value: "
            "leave it out of gradient penalties and other uses of create_graph=True"
        )
    (gradient,) = ctx.saved_tensors
    return None if upstream is None else upstream[:, None] * gradient, None, None, None


_smooth_dcg.register_autograd(_apply_gradient, setup_context=_keep_gradient)


def _dcg(standing: Tensor, shares: Tensor, as_odds: bool, gradient: Tensor | None) -> Tensor:
    """Value of each row; its gradient by the scaled scores goes into ``gradient``."""
    queries, candidates = shares.shape
    budget = _CPU_BLOCK if shares.device.type == "cpu" else _LARGEST_BLOCK
    rows = max(1, min(queries, budget // candidates**2))
    width = min(candidates, max(1, _LARGEST_BLOCK // candidates))
    block = shares.new_empty(rows, width, candidates)
    value = shares.new_empty(queries)
    for first in range(0, queries, rows):
        part = slice(first, first + rows)
        slot = None if gradient is None else gradient[part]
        value[part] = _dcg_of_rows(standing[part], shares[part], as_odds, slot, block[: len(shares[part])])
    return value


def _dcg_of_rows(standing: Tensor, shares: Tensor, as_odds: bool, gradient: Tensor | None, block: Tensor) -> Tensor:
    candidates, width = shares.shape[1], block.shape[1]
    tiles = [slice(first, min(first + width, candidates)) for first in range(0, candidates, width)]
    next_rank = torch.empty_like(shares)
    for tile in tiles:
        above = _above(standing, tile, as_odds, block)
        torch.sum(above, 2, out=next_rank[:, tile])
    next_rank += 1.5  # of the 2 in 1 + rank, sigma(0) = 1/2 of the candidate itself is in the sum
    logarithm = torch.log2(next_rank)
    if gradient is not None:
        slopes = -shares / (logarithm.square() * next_rank * math.log(2))
        for tile in tiles:
            if len(tiles) > 1:
                above = _above(standing, tile, as_odds, block)
            curvature = above.addcmul_(above, above, value=-1)
            own = slopes[:, tile] * curvature.sum(2)
            torch.sub(curvature.mul_(slopes[:, None]).sum(2), own, out=gradient[:, tile])
    return (shares / logarithm).sum(1)


def _above(standing: Tensor, tile: slice, as_odds: bool, block: Tensor) -> Tensor:
    """``(rows, tile, C)``: the sigmoid of how far each candidate stands above those of the tile."""
    theirs, own = standing[:, None, :], standing[:, tile, None]
    out = block[:, : own.shape[1]]
    if as_odds:
        ratio = torch.mul(own, theirs.reciprocal(), out=out)
        return torch.addcmul(ratio.new_ones(()), ratio, ratio, out=out).reciprocal_()
    return torch.sub(theirs, own, out=out).sigmoid_()
