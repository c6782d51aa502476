"""What a host LightningModule inherits: a relevance-aware loss, and retrieval metrics."""

from vse_lightning.mixins.relevance_loss import RelevanceLossMixin
from vse_lightning.mixins.retrieval_metrics import RetrievalMetricsMixin
from vse_lightning.targets import RetrievalTargets

__all__ = ["RelevanceLossMixin", "RetrievalMetricsMixin", "RetrievalTargets"]
