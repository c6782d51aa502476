"""Sums of sigmoids of score differences over sorted lists, in time and memory linear in the list."""

from functools import cache, cached_property

import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from vse_lightning.functional.sorting import ascending_order

# candidates of a block
_BLOCK = 8
# terms of the polynomial
_DEGREES = {torch.float32: 9, torch.float64: 21}


class SigmoidSums:
    r"""Weighted sums, over the others of a list, of the sigmoid of score differences or of its slope.

    .. math:: S_j = \sum_{k \ne j} w_k\, \sigma\Big(\frac{s_k - s_j}{\tau}\Big), \qquad
        S'_j = \sum_{k \ne j} w_k\, \sigma'\Big(\frac{s_k - s_j}{\tau}\Big)

    With :math:`z = e^{-|s_k - s_j| / \tau}` in [0, 1] the sigmoid is :math:`z / (1 + z)` for those below and
    :math:`1 - z / (1 + z)` for those above, and :math:`z / (1 + z)` is a polynomial :math:`\sum_m c_m z^m` but for a
    relative error of 3e-7 with 9 terms (float32), of rounding with 21 (float64); so is its slope. Along a sorted list
    the powers of z multiply. The list is cut into blocks, and each block sends its moments :math:`\sum_k w_k z_k^m`
    up and down, as seen from its edge: they decay from edge to edge, and what has arrived at a block's edge is read at
    each of its candidates as a polynomial of their distance to it. Only those of one block are compared one by one.

    Distances are differences of scores and divided by the temperature afterwards, so that no range of scores and no
    temperature costs digits or time, and what is too far to matter underflows to 0. The tensors are laid out as
    ``(candidates of a block, blocks, queries)``; a leading 2 stands for the sides, from below and from above.
    """

    def __init__(self, scores: Tensor, temperature: float) -> None:
        def closeness(lower: Tensor, upper: Tensor) -> Tensor:
            return torch.sub(lower, upper).div_(temperature).exp_()

        self._candidates = scores.shape[1]
        self._order = ascending_order(scores)
        self._padding = -self._candidates % _BLOCK  # by the highest again, with weight 0
        if self._padding:
            self._order = torch.cat([self._order, self._order[:, -1:].expand(-1, self._padding)], 1)
        ascending = self._in_blocks(scores)
        first, last = ascending[0], ascending[-1]
        to_first, to_last = closeness(first, ascending), closeness(ascending, last)
        self._reading, self._sending = torch.stack([to_first, to_last]), torch.stack([to_last, to_first])
        across, up, down = (
            closeness(*edges) for edges in ((last[:-1], first[1:]), (first[:-1], first[1:]), (last[:-1], last[1:]))
        )
        decays = torch.stack([across, across.flip(0), up, down.flip(0)])
        powers = _powers(decays, _DEGREES[scores.dtype])
        self._departure, self._onward = powers[:, :2], powers[:, 2:]
        self._lower = [  # of two candidates of a block so many places apart, the sigmoid for the lower one
            torch.sub(ascending[:-apart], ascending[apart:]).div_(temperature).sigmoid_() for apart in range(1, _BLOCK)
        ]

    def sums(self, weights: Tensor | None = None) -> Tensor:
        """:math:`S` of ``weights (Q, C)``: ``(Q, C)``. Without weights everyone counts once."""
        weights, arrived = self._sent(weights)
        below, above = _polynomials(arrived, self._reading, slope=False)
        sums = below.sub_(above).add_(_total_above(weights))
        for apart, lower in enumerate(self._lower, 1):
            sums[apart:].addcmul_(weights[:-apart], lower)
            sums[:-apart].addcmul_(weights[apart:], 1 - lower)
        return self._in_rows(sums)

    def slopes(self, weights: Tensor | None = None) -> Tensor:
        """:math:`S'` of ``weights (Q, C)``: ``(Q, C)``. Without weights everyone counts once."""
        weights, arrived = self._sent(weights)
        below, above = _polynomials(arrived, self._reading, slope=True)
        sums = below.add_(above)
        for apart, lower in enumerate(self._lower, 1):
            slope = torch.addcmul(lower, lower, lower, value=-1)
            sums[apart:].addcmul_(weights[:-apart], slope)
            sums[:-apart].addcmul_(weights[apart:], slope)
        return self._in_rows(sums)

    def differences(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        r"""As :meth:`slopes`, each weight times :math:`v_k - v_j`, of ``values (Q, C)``: ``(Q, C)``."""
        weighted = values if weights is None else values * weights
        return self.slopes(weighted).addcmul_(values, self.slopes(weights), value=-1)

    def _sent(self, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights in blocks, and what of them arrives at each block."""
        if weights is None:
            return self._sent_without_weights
        weights = self._in_blocks(weights)
        if self._padding:
            weights[-self._padding :, -1] = 0
        return weights, self._arrived(weights)

    @cached_property
    def _sent_without_weights(self) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(self._reading[0])
        if self._padding:
            ones[-self._padding :, -1] = 0
        return ones, self._arrived(ones)

    def _arrived(self, weights: Tensor) -> Tensor:
        """Moments ``(degree, 2, blocks, Q)`` of all blocks below and of all above, as seen from a block's edge."""
        moments = self._reading.new_empty(len(self._onward), *self._reading[:, 0].shape)
        terms = self._sending * weights
        torch.sum(terms, 1, out=moments[0])
        for moment in moments[1:]:
            torch.sum(terms.mul_(self._sending), 1, out=moment)
        departing = torch.stack([moments[:, 0, :-1], moments[:, 1, 1:].flip(1)], 1).mul_(self._departure)
        arrived = _carried(self._onward, departing)
        arrived[:, 1] = arrived[:, 1].flip(1)
        return arrived

    def _in_blocks(self, values: Tensor) -> Tensor:
        columns = values.gather(1, self._order).T.contiguous()
        return columns.view(-1, _BLOCK, len(values)).transpose(0, 1).contiguous()

    def _in_rows(self, blocks: Tensor) -> Tensor:
        columns = blocks.transpose(0, 1).reshape(-1, blocks.shape[2])[: self._candidates]
        rows = blocks.new_empty(blocks.shape[2], self._candidates)
        return rows.scatter_(1, self._order[:, : self._candidates], columns.T)


def _carried(onward: Tensor, departing: Tensor) -> Tensor:
    """Along dimension -2: nothing at first, then each time what was there times ``onward``, plus what is departing.

    Two steps make one of a recurrence half as long, which gives every other value.
    """
    steps = departing.shape[-2]
    carried = departing.new_zeros(*departing.shape[:-2], steps + 1, departing.shape[-1])
    evens, odds = slice(0, None, 2), slice(1, None, 2)
    if steps > 1:
        first = slice(0, steps - 1, 2)
        then_onward = onward[..., odds, :]
        both_departing = torch.addcmul(departing[..., odds, :], departing[..., first, :], then_onward)
        carried[..., evens, :] = _carried(onward[..., first, :] * then_onward, both_departing)
    if steps:
        before = carried[..., 0:steps:2, :]
        carried[..., odds, :] = torch.addcmul(departing[..., evens, :], onward[..., evens, :], before)
    return carried


def _powers(base: Tensor, degree: int) -> Tensor:
    """``(degree, ...)``: the powers from the first on."""
    powers = base.new_empty(degree, *base.shape)
    powers[0] = base
    for power in range(1, degree):
        torch.mul(powers[power - 1], base, out=powers[power])
    return powers


def _polynomials(moments: Tensor, points: Tensor, slope: bool) -> Tensor:
    """Horner's scheme: at ``points (2, candidates, blocks, Q)``, from ``moments (degree, 2, blocks, Q)``."""
    coefficients = _coefficients(slope, len(moments))
    moments = moments[:, :, None]
    values = points * (coefficients[-1] * moments[-1])
    for power in range(len(coefficients) - 2, -1, -1):
        values.add_(moments[power], alpha=coefficients[power]).mul_(points)
    return values


@cache
def _coefficients(slope: bool, degree: int) -> tuple[float, ...]:
    """Of z, z^2, ... in z / (1 + z), or in its slope by the logarithm of z, z / (1 + z)^2, on [0, 1]."""
    power = 2 if slope else 1
    quotient = Chebyshev.interpolate(lambda z: 1 / (1 + z) ** power, degree - 1, domain=[0, 1])
    return tuple(map(float, quotient.convert(kind=Polynomial).coef))


def _total_above(weights: Tensor) -> Tensor:
    """``(blocks, Q)``: the weight of all blocks above."""
    totals = weights.sum(0)[1:].flip(0)
    return _carried(torch.ones_like(totals), totals).flip(0)
