"""What a host LightningModule inherits: a relevance-aware loss, and retrieval metrics.

A host says where its embeddings come from in one of three ways, looked for in this order:

1. its step returns a mapping with ``image_embeds (N, D)`` and ``text_embeds (M, D)``;
2. the class attribute ``retrieval_embeds_from``: ``"forward"`` or the dotted name of another method or submodule
   that returns both, or two names; what these return is captured while the host's own step runs, so that its
   encoders run once;
3. a method ``retrieval_embeds(batch) -> (image_embeds, text_embeds)``, called once per step, after the host's own.

With both of the last two the method picks the embeddings out of what was captured: where it calls what
``retrieval_embeds_from`` names, that gives back what it returned in the host's step instead of running again.

What hosts do besides, and what comes of it (tried in ``tests/hosts`` and ``tests/mixins``):

- Automatic optimisation, gradient clipping, mixed precision: the loss is part of what ``training_step`` returns.
- Accumulated gradients: candidates are those of one batch; for more, ``relevance_queue_size``, or a larger batch in
  pieces by ``relevance_chunk_size`` (GradCache), which gives the gradients of the whole batch.
- Manual optimisation: ask for ``relevance_loss_of(batch)`` in the step, after the encoders ran.
- ``torch.compile`` of the host: what its step returns or calls is captured all the same; the loss itself runs as
  compiled or not.
- DDP: each process scores its own queries against everybody's candidates; a step gives the weights of one process on
  the whole batch. Metrics are those of one process, however unevenly the data is spread.
- ``EMAWeightAveraging``: validation and test measure the averaged weights. ``StochasticWeightAveraging``: its average
  exists in memory after the fit only.
- Activation checkpointing: embeddings come from ``retrieval_embeds_from`` outside the checkpointed part.
- Several validation or test dataloaders: each is measured by itself, under Lightning's ``/dataloader_idx_1``.
- Steps that return ``None`` for some batches skip these; one that does so for a whole epoch is an error.
- Learning-rate finder, batch-size scaler, sanity check, ``limit_*_batches``: run; what saw only a part of the data is
  measured as one fold.
- Hosts of ``pytorch_lightning``: the same, with a trainer of the same package.
"""

from vse_lightning.mixins.relevance_loss import RelevanceLossMixin
from vse_lightning.mixins.retrieval_metrics import RetrievalMetricsMixin
from vse_lightning.targets import RetrievalTargets

__all__ = ["RelevanceLossMixin", "RetrievalMetricsMixin", "RetrievalTargets"]
