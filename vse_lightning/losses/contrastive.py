"""Contrastive loss with a learnable temperature."""

from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_positive, require_share
from vse_lightning.functional._contrastive import contrastive
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.losses._learnable_scale import OfModel, clamp_scale_, given, log_scale_of, temperature_of
from vse_lightning.losses._near_positives import check_threshold, with_near_positives
from vse_lightning.losses._terms import Reduction
from vse_lightning.losses.retrieval_loss import RetrievalLoss


class ContrastiveLoss(RetrievalLoss):
    """InfoNCE with all positives, and targets softened by relevance on request; see :func:`functional.contrastive`.

    ``relevance_weight=1`` is X-CLR's loss, and with ``directions=("i2i", "t2t")`` CUSA's within a modality.

    Args:
        temperature: of the softmax over the candidates, to start with; above 0, or ``"model"``: with ``CLIPRetriever``
            the loss learns the model's own further.
        learnable: learn it, as CLIP does, through the parameter ``log_scale``. The mixin keeps the scale below its
            bound; in your own loop call :meth:`clamp_` after the optimizer's step.
        max_scale: upper bound of 1 / temperature; where a model gives its own and starts beyond, that.
        relevance_weight: share of the target given to the relevance, in [0, 1]; above 0 the loss needs relevance.
        relevance_temperature: of the softmax that turns relevance into a target; above 0.
        positive_threshold: candidates of at least this relevance, in (0, 1], count as positives too; ``None``: none.
        reduction: ``"mean"`` or ``"sum"``.
        directions: the lists it is computed on: any of ``"i2t"``, ``"t2i"``, ``"i2i"``, ``"t2t"``.
    """

    term = "contrastive"

    @typed
    def __init__(
        self,
        temperature: float | OfModel = 0.05,
        learnable: bool = True,
        max_scale: float = 100.0,
        relevance_weight: float = 0.0,
        relevance_temperature: float = 0.1,
        positive_threshold: float | None = None,
        reduction: Reduction = "mean",
        directions: tuple[Direction, ...] = ACROSS,
    ) -> None:
        super().__init__(reduction, directions)
        self.log_scale = log_scale_of(temperature, learnable, max_scale)
        require_share("relevance_weight", relevance_weight)
        require_positive("relevance_temperature", relevance_temperature)
        check_threshold(positive_threshold)
        self.learnable, self.max_scale, self.relevance_weight = learnable, max_scale, relevance_weight
        self.relevance_temperature, self.positive_threshold = relevance_temperature, positive_threshold
        self.needs_relevance = relevance_weight > 0 or positive_threshold is not None

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each query, and 1."""
        return contrastive(
            scores,
            with_near_positives(positives, relevance, self.positive_threshold),
            relevance if self.relevance_weight > 0 else None,
            given("temperature", self.log_scale).to(scores.dtype).exp(),
            self.relevance_weight,
            self.relevance_temperature,
        )

    def clamp_(self) -> None:
        """Bring the scale back below its bound."""
        clamp_scale_(self.log_scale, self.max_scale)

    @property
    def temperature(self) -> float | OfModel:
        """As learned so far; ``"model"`` where no model gave its own."""
        return temperature_of(self.log_scale)
