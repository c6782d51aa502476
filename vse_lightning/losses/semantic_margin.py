"""Margins that grow with the relevance of the negative (LSEH), or shrink."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_not_negative
from vse_lightning.functional._semantic_margin import semantic_margin
from vse_lightning.functional._triplet import Mining
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class LSEHLoss(RetrievalLoss):
    """Triplet loss with margin ``margin + semantic_weight * relevance``; see :func:`functional.semantic_margin`.

    Args:
        margin: the margin of an unrelated negative; at least 0.
        semantic_weight: what relevance 1 adds to it; at least 0.
        mining: ``"hardest"`` as in the paper, or another way of :class:`TripletLoss`, with its default temperature
            and epsilon.
        reduction: ``"mean"``, or ``"sum"`` as in the released code.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "semantic_margin"
    needs_relevance = True

    @typed
    def __init__(
        self,
        margin: float = 0.185,
        semantic_weight: float = 0.025,
        mining: Mining = "hardest",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("margin", margin)
        require_not_negative("semantic_weight", semantic_weight)
        self.margin, self.semantic_weight, self.mining = margin, semantic_weight, mining

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the hinges of each query's positives, and their number."""
        average = self.reduction == "mean"
        return semantic_margin(scores, relevance, positives, self.margin, self.semantic_weight, self.mining, average)


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

    @typed
    def __init__(
        self,
        margin: float = 0.2,
        mining: Mining = "hardest",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("margin", margin)
        self.margin, self.mining = margin, mining

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the hinges of each query's positives, and their number."""
        average = self.reduction == "mean"
        return semantic_margin(scores, relevance, positives, self.margin, -self.margin, self.mining, average)
