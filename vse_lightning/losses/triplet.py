"""Triplet ranking loss with four ways to mine negatives."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_not_negative, require_positive
from vse_lightning.functional._triplet import Mining, triplet
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._near_positives import check_threshold, with_near_positives
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class TripletLoss(RetrievalLoss):
    """One hinge per (query, positive) pair: VSE0, VSE++, Triplet-SN and SelHN; see :func:`functional.triplet`.

    Hardest negatives from scratch can sit at the margin for ever: start with
    :class:`~vse_lightning.callbacks.HardNegativeWarmup` or ``mining="soft"``.

    With ``positive_threshold`` related candidates are pulled instead of pushed, after Falcon et al., "Learning Video
    Retrieval Models with Relevance-Aware Online Mining", ICIAP 2022, who pull only the farthest of them.

    Args:
        margin: by how much a positive should outscore a negative; at least 0.
        mining: which negatives of the query count: ``"all"`` (their average; their sum under ``reduction="sum"``),
            ``"hardest"``, ``"soft"`` or ``"selective"``.
        temperature: softness of ``mining="soft"``; above 0.
        epsilon: of ``mining="selective"``: how near the positive a hardest negative must score for all negatives to
            be averaged; at least 0.
        positive_threshold: candidates of at least this relevance, in (0, 1], count as positives too (RANP); ``None``:
            none, and the loss needs no relevance.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "triplet"

    @typed
    def __init__(
        self,
        margin: float = 0.2,
        mining: Mining = "hardest",
        temperature: float = 0.01,
        epsilon: float = 0.01,
        positive_threshold: float | None = None,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_not_negative("margin", margin)
        require_positive("temperature", temperature)
        require_not_negative("epsilon", epsilon)
        check_threshold(positive_threshold)
        self.margin, self.mining, self.temperature, self.epsilon = margin, mining, temperature, epsilon
        self.positive_threshold, self.needs_relevance = positive_threshold, positive_threshold is not None

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the hinges of each query's positives, and their number."""
        average = self.reduction == "mean"
        positives = with_near_positives(positives, relevance, self.positive_threshold)
        return triplet(scores, positives, self.margin, self.mining, self.temperature, self.epsilon, average)
