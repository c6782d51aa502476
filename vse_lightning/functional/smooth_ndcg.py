"""Smooth NDCG: a differentiable NDCG of the whole list, in memory linear in the list."""

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

    The value and the gradient are exact, computed together in blocks: extra memory is O(Q C), never Q C C. The
    gradient is kept from the forward pass, so there is no second derivative: asking for one is an error.

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
    gains = gains_of(relevance, gain)
    ideal_ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    ideal = (gains.sort(1, descending=True).values / torch.log2(1 + ideal_ranks)).sum(1)
    relevant = ideal > 0
    shares = gains / torch.where(relevant, ideal, 1)[:, None]
    dcg: Tensor = _SmoothDCG.apply(scores, shares, temperature)
    return torch.where(relevant, 1 - dcg, dcg), relevant.long()


# entries of a sigmoid block: stays in the cache of a core; on a GPU large enough to fill it
_BLOCK_CPU, _BLOCK_GPU = 2**18, 2**26


class _SmoothDCG(torch.autograd.Function):
    r"""Sum of shares / log2(1 + smooth rank) per row, with its gradient by the scores found on the way.

    With :math:`a_j` the derivative of row's value by :math:`\pi_j` and the symmetric
    :math:`\sigma'_{jk} = \sigma(1 - \sigma)`, the gradient by :math:`s_m` is
    :math:`\sum_j (a_j - a_m) \sigma'_{jm} / \tau`.
    """

    @staticmethod
    @torch.compiler.disable
    def forward(ctx: Any, scores: Tensor, shares: Tensor, temperature: float) -> Tensor:
        queries, candidates = scores.shape
        budget = _BLOCK_GPU if scores.is_cuda else _BLOCK_CPU
        tile = max(1, min(candidates, budget // max(candidates, 1)))
        rows = max(1, budget // max(candidates * candidates, 1))
        scaled = scores.detach() / temperature
        value = scores.new_empty(queries)
        gradient = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        for start in range(0, queries, rows):
            block = slice(start, start + rows)
            slot = None if gradient is None else gradient[block]
            value[block] = _dcg_block(scaled[block], shares[block], tile, slot)
        if gradient is not None:
            ctx.save_for_backward(scores, gradient.div_(temperature))
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return _OnceOnly.apply(upstream, *ctx.saved_tensors), None, None


class _OnceOnly(torch.autograd.Function):
    """Chain rule for a gradient that is a constant to autograd though it depends on the scores."""

    @staticmethod
    def forward(ctx: Any, upstream: Tensor, scores: Tensor, gradient: Tensor) -> Tensor:
        return upstream[:, None] * gradient

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> None:
        raise RuntimeError(
            "smooth_ndcg has no second derivative: its gradient is computed in the forward pass; "
            "leave it out of gradient penalties and other uses of create_graph=True"
        )


def _dcg_block(scaled: Tensor, shares: Tensor, tile: int, gradient: Tensor | None) -> Tensor:
    """Value of a block of rows; writes its gradient by ``scaled`` into ``gradient``."""
    tiles = scaled.split(tile, 1)
    sigmoids = _sigmoids(scaled, tiles[0])
    ranks = [sigmoids.sum(2)] + [_sigmoids(scaled, part).sum(2) for part in tiles[1:]]
    log_ranks = torch.log2(torch.cat(ranks, 1).add_(1.5))  # sigma(0) = 1/2 of the candidate itself is in the sum
    value = (shares / log_ranks).sum(1)
    if gradient is not None:
        slopes = -shares / (log_ranks.square() * torch.exp2(log_ranks) * 0.6931471805599453)
        weights = torch.stack((slopes, torch.ones_like(slopes)), 2)
        start = 0
        for part in tiles:
            if start:
                sigmoids = _sigmoids(scaled, part)
            curvature = torch.addcmul(sigmoids, sigmoids, sigmoids, value=-1)
            pulls = curvature @ weights
            stop = start + part.shape[1]
            gradient[:, start:stop] = pulls[..., 0] - slopes[:, start:stop] * pulls[..., 1]
            start = stop
    return value


def _sigmoids(scaled: Tensor, part: Tensor) -> Tensor:
    """``(rows, part, C)``: how far each candidate stands above those of the part."""
    return (scaled[:, None, :] - part[:, :, None]).sigmoid_()
