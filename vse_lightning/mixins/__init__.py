"""What a host LightningModule inherits: a relevance-aware loss, and retrieval metrics.

A host says where its embeddings come from in one of three ways, looked for in this order:

1. its step returns a mapping with ``image_embeds (N, D)`` and ``text_embeds (M, D)``;
2. the class attribute ``retrieval_embeds_from``: ``"forward"`` or the dotted name of another method or submodule
   that returns both, or two names; what these return is captured while the host's own step runs, so that its
   encoders run once;
3. a method ``retrieval_embeds(batch) -> (image_embeds, text_embeds)``, called once per step, after the host's own.

With both of the last two the method picks the embeddings out of what was captured: where it calls what
``retrieval_embeds_from`` names, that gives back what it returned in the host's step instead of running again.
"""

from vse_lightning.mixins.relevance_loss import RelevanceLossMixin
from vse_lightning.mixins.retrieval_metrics import RetrievalMetricsMixin
from vse_lightning.targets import RetrievalTargets

__all__ = ["RelevanceLossMixin", "RetrievalMetricsMixin", "RetrievalTargets"]
