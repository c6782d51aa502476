"""Contrastive loss over levels of relevance (RINCE)."""

from typing import Literal

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_falling, require_positive
from vse_lightning.functional._ranked_contrastive import ranked_contrastive
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class RankedContrastiveLoss(RetrievalLoss):
    """InfoNCE of every level of relevance against all below it; see :func:`functional.ranked_contrastive`.

    Args:
        thresholds: relevances in [0, 1], strictly decreasing, one per level after the positives. They belong to a label
            source: 0.63 is for SBERT, as in :class:`LadderLoss`. ``()`` leaves InfoNCE alone.
        temperatures: one per level, the first of the positives; above 0. Lower levels, whose members are less alike,
            get larger ones.
        variant: ``"in"``: some member of a level should stand out; ``"out"``: every one should.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "ranked_contrastive"
    needs_relevance = True

    @typed
    def __init__(
        self,
        thresholds: tuple[float, ...] = (0.63,),
        temperatures: tuple[float, ...] = (0.05, 0.1),
        variant: Literal["in", "out"] = "in",
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        thresholds, temperatures = tuple(thresholds), tuple(temperatures)
        require_falling("thresholds", thresholds, highest=1)
        fits = len(temperatures) == len(thresholds) + 1
        require(fits, "temperatures must have one entry more than thresholds {}, got {}", thresholds, temperatures)
        for temperature in temperatures:
            require_positive("every entry of temperatures", temperature)
        self.thresholds, self.temperatures, self.variant = thresholds, temperatures, variant

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over each query's levels, and 1."""
        return ranked_contrastive(scores, relevance, positives, self.thresholds, self.temperatures, self.variant)
