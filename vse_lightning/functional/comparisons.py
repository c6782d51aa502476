"""All pairs of short lists, compared by the sigmoid of their score difference."""

import torch
from torch import Tensor

# scores at most so many temperatures apart have e^(s / 2 temperature), the root of their odds, within float32
_ODDS_RANGE = 340
# so many temperatures apart nothing changes any more, but numbers are not yet so small that a CPU stumbles over them
_SATURATED = 80


class Comparisons:
    r"""The sigmoids :math:`\sigma((s_i - s_j) / \tau)` of lists as ``above (Q, C, C)``, and their slopes.

    Args:
        scores: ``(Q, C)`` float32 or float64.
        temperature: above 0.
    """

    def __init__(self, scores: Tensor, temperature: float) -> None:
        self._roots = _roots_of_odds(scores, temperature)
        if self._roots is None:
            distances = torch.sub(scores[:, :, None], scores[:, None, :]).div_(temperature)
            self.above = distances.clamp_(-_SATURATED, _SATURATED).sigmoid_()
        else:  # one exponential per candidate instead of one per pair
            ratios = self._roots.reciprocal()[:, :, None] * self._roots[:, None, :]
            self.above = torch.addcmul(ratios.new_ones(()), ratios, ratios, out=ratios).reciprocal_()

    def slopes(self) -> Tensor:
        """The slopes ``(Q, C, C)``, of oneself 0, in the place of the sigmoids: they are spent."""
        if self._roots is None:
            self.above = self.above * self.above.mT  # 1 - above would lose the digits of what is far below
        else:
            self.above.mul_(self._roots.reciprocal()[:, :, None]).mul_(self._roots[:, None, :]).square_()
        self.above.diagonal(dim1=1, dim2=2).zero_()  # or the small ones next to it would lose theirs
        return self.above


def _roots_of_odds(scores: Tensor, temperature: float) -> Tensor | None:
    """``(Q, C)``: their ratios squared are the odds; ``None`` where they are out of range, or looking costs a wait."""
    if scores.device.type != "cpu":
        return None
    lowest, highest = scores.aminmax(dim=1, keepdim=True)
    span = highest - lowest
    if not bool((span <= _ODDS_RANGE * temperature).all()):
        return None
    # exponents in double precision, to be as exact as differences of scores
    return torch.sub(scores.double(), lowest + span / 2).div_(2 * temperature).exp_().to(scores.dtype)
