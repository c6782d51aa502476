"""Sigmoid loss with a learnable temperature and bias (SigLIP)."""

from math import isfinite

import torch
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_share
from vse_lightning.functional._sigmoid import sigmoid
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._learnable_scale import OfModel, clamp_scale_, given, log_scale_of, temperature_of
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class SigmoidLoss(RetrievalLoss):
    """Every pair is a question of its own: match or no match, or how much; see :func:`functional.sigmoid`.

    Args:
        temperature: of the scores, to start with; above 0, or ``"model"``: with ``CLIPRetriever`` the loss learns the
            model's own further.
        bias: added to the scaled scores, to start with; finite, or ``"model"`` alike.
        learnable: learn both, as SigLIP does, through the parameters ``log_scale`` and ``bias``.
        max_scale: upper bound of 1 / temperature; where a model gives its own and starts beyond, that.
        relevance_weight: share of the target given to the relevance, in [0, 1]; above 0 the loss needs relevance.
        reduction: ``"mean"`` (over queries) or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "sigmoid"

    @typed
    def __init__(
        self,
        temperature: float | OfModel = 0.1,
        bias: float | OfModel = -10.0,
        learnable: bool = True,
        max_scale: float = 100.0,
        relevance_weight: float = 0.0,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        self.log_scale = log_scale_of(temperature, learnable, max_scale)
        require_share("relevance_weight", relevance_weight)
        self.bias: nn.Parameter | None = None
        if bias != "model":
            require(isfinite(bias), "bias must be a finite number, or 'model', got {!r}", bias)
            self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.learnable, self.max_scale, self.relevance_weight = learnable, max_scale, relevance_weight
        self.needs_relevance = relevance_weight > 0

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies of each query's candidates, and 1."""
        return sigmoid(
            scores,
            positives,
            relevance if self.needs_relevance else None,
            given("temperature", self.log_scale).to(scores.dtype).exp(),
            given("bias", self.bias).to(scores.dtype),
            self.relevance_weight,
        )

    def clamp_(self) -> None:
        """Bring the scale back below its bound."""
        clamp_scale_(self.log_scale, self.max_scale)

    @property
    def temperature(self) -> float | OfModel:
        """As learned so far; ``"model"`` where no model gave its own."""
        return temperature_of(self.log_scale)
