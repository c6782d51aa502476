"""Ladder loss."""

from typing import Literal

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_falling, require_not_negative
from vse_lightning.functional._ladder import ladder
from vse_lightning.functional._triplet import Mining
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class LadderLoss(RetrievalLoss):
    """A triplet, then one rung per relevance threshold; see :func:`functional.ladder`.

    Args:
        margins: one per rung, the first of the triplet; at least 0.
        thresholds: one per rung after the first, strictly decreasing. They belong to a label source: 0.63 is the
            paper's, for its word vectors, and fits SBERT too: measured on Flickr8k, where about 1 in 300 random pairs
            reaches it, while 0.40 cost 68 points of rsum. ``()`` leaves the triplet alone.
        weights: one per rung after the first; at least 0.
        threshold_mode: ``"absolute"``: thresholds are relevances in [0, 1]; ``"percentile"``: percentiles (0-100) of
            each query's relevance row.
        cumulative: compare every rung with the positive, with the margins added up (the authors' later variant).
        mining: negatives of the first rung: ``"hardest"`` as in the paper, or another way of :class:`TripletLoss`,
            with its default temperature and epsilon.
        reduction: ``"mean"``, or ``"sum"`` as in the released code.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "ladder"
    needs_relevance = True

    @typed
    def __init__(
        self,
        margins: tuple[float, ...] = (0.2, 0.01),
        thresholds: tuple[float, ...] = (0.63,),
        weights: tuple[float, ...] = (0.25,),
        threshold_mode: Literal["absolute", "percentile"] = "absolute",
        cumulative: bool = False,
        mining: Mining = "hardest",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        margins, thresholds, weights = tuple(margins), tuple(thresholds), tuple(weights)
        require(len(margins) > 0, "margins must name at least the margin of the first rung, got {}", margins)
        for name, values in (("thresholds", thresholds), ("weights", weights)):
            fits = len(values) == len(margins) - 1
            require(fits, "{} must have one entry fewer than margins {}, got {}", name, margins, values)
        for name, values in (("margins", margins), ("weights", weights)):
            for value in values:
                require_not_negative(f"every entry of {name}", value)
        highest = 1 if threshold_mode == "absolute" else 100
        require_falling("thresholds", thresholds, highest, where=f" in {threshold_mode} mode")
        self.margins, self.thresholds, self.weights = margins, thresholds, weights
        self.threshold_mode, self.cumulative, self.mining = threshold_mode, cumulative, mining

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the ladders of each query's positives, and their number."""
        return ladder(
            scores,
            relevance,
            positives,
            self.margins,
            self.thresholds,
            self.weights,
            self.threshold_mode,
            self.cumulative,
            self.mining,
            average=self.reduction == "mean",
        )
