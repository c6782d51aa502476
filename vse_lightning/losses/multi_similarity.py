"""Symmetric multi-similarity loss (SMS)."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_not_negative
from vse_lightning.functional._multi_similarity import multi_similarity
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class SymmetricMultiSimilarityLoss(RetrievalLoss):
    """Gaps of scores as wide as those of relevance, with slack near 0; see :func:`functional.multi_similarity`.

    Args:
        margin: by how much a positive should outscore a negative of relevance 0; at least 0.
        slack: how far from the positive a negative that is nearly as relevant may score, either way; at least 0.
        min_gap: a negative whose relevance lies below 1 by no more than this is nearly as relevant; at least 0.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "multi_similarity"
    needs_relevance = True

    @typed
    def __init__(
        self,
        margin: float = 0.6,
        slack: float = 0.1,
        min_gap: float = 0.005,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("margin", margin)
        require_not_negative("slack", slack)
        require_not_negative("min_gap", min_gap)
        self.margin, self.slack, self.min_gap = margin, slack, min_gap

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over each query's positives of the mean over its negatives, and their number."""
        return multi_similarity(scores, relevance, positives, self.margin, self.slack, self.min_gap)
