"""Sigmoid loss with a learnable temperature and bias (SigLIP)."""

from math import isfinite

import torch
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_share
from vse_lightning.functional._sigmoid import sigmoid
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._learnable_scale import clamp_scale_, log_scale_of
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class SigmoidLoss(RetrievalLoss):
    """Every pair is a question of its own: match or no match, or how much; see :func:`functional.sigmoid`.

    Args:
        temperature: of the scores, to start with; above 0.
        bias: added to the scaled scores, to start with; finite.
        learnable: learn both, as SigLIP does, through the parameters ``log_scale`` and ``bias``.
        max_scale: upper bound of 1 / temperature.
        relevance_weight: share of the target given to the relevance, in [0, 1]; above 0 the loss needs relevance.
        reduction: ``"mean"`` (over queries) or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "sigmoid"

    @typed
    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        learnable: bool = True,
        max_scale: float = 100.0,
        relevance_weight: float = 0.0,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        self.log_scale = log_scale_of(temperature, learnable, max_scale)
        require(isfinite(bias), "bias must be a finite number, got {}", bias)
        require_share("relevance_weight", relevance_weight)
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.max_scale, self.relevance_weight = max_scale, relevance_weight
        self.needs_relevance = relevance_weight > 0

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies of each query's candidates, and 1."""
        return sigmoid(
            scores,
            positives,
            relevance if self.needs_relevance else None,
            self.log_scale.to(scores.dtype).exp(),
            self.bias.to(scores.dtype),
            self.relevance_weight,
        )

    def clamp_(self) -> None:
        """Bring the scale back below its bound."""
        clamp_scale_(self.log_scale, self.max_scale)

    @property
    def temperature(self) -> float:
        """As learned so far."""
        return (-self.log_scale).exp().item()
