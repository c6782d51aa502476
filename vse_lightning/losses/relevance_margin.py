"""Triplet loss whose margin shrinks with the relevance of the negative."""

from typing import Literal

from torch import Tensor

from vse_lightning.checks import require_not_negative, require_one_of
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.functional.semantic_margin import semantic_margin
from vse_lightning.functional.triplet import MINING
from vse_lightning.losses.retrieval_loss import RetrievalLoss
from vse_lightning.losses.terms import Reduction


class RelevanceMarginLoss(RetrievalLoss):
    """Triplet loss with margin ``margin * (1 - relevance)``: the more relevant a negative, the less it is pushed.

    It is :func:`functional.semantic_margin` with ``semantic_weight=-margin``: the other way round than
    :class:`LSEHLoss`, for labels that are trusted.

    Args:
        margin: that of an unrelated negative; at least 0.
        mining: ``"hardest"`` takes the negative whose score and margin together are largest; or another way of
            :class:`TripletLoss`, with its default temperature and epsilon.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "relevance_margin"
    needs_relevance = True

    def __init__(
        self,
        margin: float = 0.2,
        mining: Literal["all", "hardest", "soft", "selective"] = "hardest",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("margin", margin)
        require_one_of("mining", mining, MINING)
        self.margin, self.mining = margin, mining

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the hinges of each query's positives, and their number."""
        average = self.reduction == "mean"
        return semantic_margin(scores, relevance, positives, self.margin, -self.margin, self.mining, average)

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"margin={self.margin}, mining={self.mining!r}"
