"""Contrastive loss with a learnable temperature."""

import math

import torch
from torch import Tensor, nn

from vse_lightning.checks import require, require_positive
from vse_lightning.functional.contrastive import contrastive
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses.retrieval_loss import RetrievalLoss
from vse_lightning.losses.terms import Reduction


class ContrastiveLoss(RetrievalLoss):
    """InfoNCE with all positives, and targets softened by relevance on request; see :func:`functional.contrastive`.

    Args:
        temperature: of the softmax over the candidates, to start with; above 0.
        learnable: learn it, as CLIP does, through the parameter ``log_scale``. The mixin keeps the scale below its
            bound; in your own loop call :meth:`clamp_` after the optimizer's step.
        max_scale: upper bound of 1 / temperature.
        relevance_weight: share of the target given to the relevance, in [0, 1]; above 0 the loss needs relevance.
        relevance_temperature: of the softmax that turns relevance into a target; above 0.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "contrastive"

    def __init__(
        self,
        temperature: float = 0.05,
        learnable: bool = True,
        max_scale: float = 100.0,
        relevance_weight: float = 0.0,
        relevance_temperature: float = 0.1,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        require_positive("temperature", temperature)
        require_positive("max_scale", max_scale)
        fits = 1 / temperature <= max_scale * (1 + 1e-9)
        require(fits, "temperature must be at least 1 / max_scale = {}, got {}", 1 / max_scale, temperature)
        share = 0 <= relevance_weight <= 1
        require(share, "relevance_weight must lie in [0, 1], got {}", relevance_weight)
        require_positive("relevance_temperature", relevance_temperature)
        self.max_scale, self.relevance_weight = max_scale, relevance_weight
        self.relevance_temperature, self.needs_relevance = relevance_temperature, relevance_weight > 0
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each query, and 1."""
        return contrastive(
            scores,
            positives,
            relevance if self.needs_relevance else None,
            self.log_scale.to(scores.dtype).exp(),
            self.relevance_weight,
            self.relevance_temperature,
        )

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the scale back below its bound; in the forward pass the clamp would have no gradient there."""
        self.log_scale.clamp_(max=math.log(self.max_scale))

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"temperature={(-self.log_scale).exp().item():.4g}, relevance_weight={self.relevance_weight}"
