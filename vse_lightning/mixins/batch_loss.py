"""The loss of a batch across processes and with candidates of the past."""

from functools import partial
from typing import Any

from torch import Tensor

from vse_lightning.losses.embeddings import Candidates, terms_of_embeddings
from vse_lightning.mixins.embeddings import Embeddings
from vse_lightning.mixins.memory_queue import MemoryQueue
from vse_lightning.targets import RetrievalTargets


def batch_terms(
    module: Any, embeds: Embeddings, targets: RetrievalTargets, queue: MemoryQueue | None
) -> dict[str, Tensor]:
    """Terms of the loss of a batch, as :meth:`RelevanceLossMixin.relevance_terms` returns them."""
    checked = module.__dict__.get("_relevance_checked", False)
    terms = terms_of_embeddings(
        module.relevance_loss,
        *embeds,
        targets,
        module.retrieval_similarity,
        gather=module.relevance_gather,
        beyond=None if queue is None else partial(_with_past, queue),
        table=getattr(getattr(getattr(module, "_trainer", None), "datamodule", None), "relevance_table", None),
        check_labels=not checked,  # on a GPU the check waits for it: once a fit is enough
    )
    module.__dict__["_relevance_checked"] = True
    return terms


def _with_past(queue: MemoryQueue, batch: Candidates) -> Candidates:
    image_embeds, text_embeds, targets = batch
    (all_images, all_texts), all_targets = queue.behind((image_embeds, text_embeds), targets)
    queue.push((image_embeds, text_embeds), targets)
    return Candidates(all_images, all_texts, all_targets)
