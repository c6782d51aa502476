"""Kendall ranking loss."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_not_negative, require_whole
from vse_lightning.functional._kendall import kendall
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class KendallLoss(RetrievalLoss):
    """Hinge on the pairs that scores order against their relevance; see :func:`functional.kendall`.

    Args:
        min_gap: pairs whose relevance differs by no more than this are left out; at least 0.
        window: ``None`` compares all pairs; a number compares neighbouring windows of so many candidates (SW-HS),
            which costs no more than a triplet loss.
        stride: step from a window to the next.
        reduction: ``"mean"`` (over pairs) or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "kendall"
    needs_relevance = True

    @typed
    def __init__(
        self,
        min_gap: float = 0.3,
        window: int | None = None,
        stride: int = 1,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("min_gap", min_gap)
        if window is not None:
            require_whole("window", window)
        require_whole("stride", stride)
        self.min_gap, self.window, self.stride = min_gap, window, stride

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the hinges of each query's ordered pairs, and their number."""
        return kendall(scores, relevance, self.min_gap, self.window, self.stride)
