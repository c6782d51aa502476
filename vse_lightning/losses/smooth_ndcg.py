"""Listwise Smooth-NDCG loss."""

from typing import Literal

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_positive
from vse_lightning.functional._smooth_ndcg import smooth_ndcg
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class SmoothNDCGLoss(RetrievalLoss):
    """1 - NDCG with smooth ranks over the whole list; see :func:`functional.smooth_ndcg`.

    Alone it costs recall, with sigmoids much of it: combine it with a triplet or contrastive loss in
    :class:`WeightedSumLoss`.

    Args:
        temperature: of the sigmoid that stands for "scores higher"; above 0, in units of the scores.
        gain: ``"exponential"`` (2^relevance - 1, as in the paper) or ``"linear"``.
        surrogate: of the rank: ``"sigmoid"``, as in the paper, or ``"bound"``, SupRank's upper bound, whose gradient
            does not fade where mistakes are large. It is made for cosines, and slower: it compares all pairs.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "smooth_ndcg"
    needs_relevance = True

    @typed
    def __init__(
        self,
        temperature: float = 0.01,
        gain: Literal["exponential", "linear"] = "exponential",
        surrogate: Literal["sigmoid", "bound"] = "sigmoid",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_positive("temperature", temperature)
        self.temperature, self.gain, self.surrogate = temperature, gain, surrogate

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """1 - smooth NDCG of each query, and 1."""
        return smooth_ndcg(scores, relevance, self.temperature, self.gain, self.surrogate)
