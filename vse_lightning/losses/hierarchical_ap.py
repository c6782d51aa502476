"""Hierarchical average precision loss."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_positive
from vse_lightning.functional._hierarchical_ap import hierarchical_ap
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class HierarchicalAPLoss(RetrievalLoss):
    """1 - hierarchical average precision (H-AP) with sigmoid ranks; see :func:`functional.hierarchical_ap`.

    As its gradient fades where mistakes are many temperatures large, combine it with a triplet or contrastive loss in
    :class:`WeightedSumLoss`.

    Args:
        temperature: of the sigmoid that stands for "scores higher"; above 0, in units of the scores.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "hierarchical_ap"
    needs_relevance = True

    @typed
    def __init__(
        self,
        temperature: float = 0.01,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_positive("temperature", temperature)
        self.temperature = temperature

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """1 - smooth H-AP of each query, and 1."""
        return hierarchical_ap(scores, relevance, self.temperature)
