"""The loss of a batch across processes and with candidates of the past."""

from typing import Any

import torch
from torch import Tensor

from vse_lightning.distributed import gather_rows, own_rows, process_count, sum_over_processes
from vse_lightning.losses.retrieval_loss import reduce_terms
from vse_lightning.mixins.capture import Embeddings
from vse_lightning.mixins.memory_queue import MemoryQueue
from vse_lightning.targets import LabelTable, RetrievalTargets


def batch_terms(
    module: Any, embeds: Embeddings, targets: RetrievalTargets, queue: MemoryQueue | None
) -> dict[str, Tensor]:
    """Terms of the loss of a batch, as :meth:`RelevanceLossMixin.relevance_terms` returns them."""
    loss = module.relevance_loss
    gathering = module.relevance_gather and process_count() > 1
    targets = _labelled(module, targets, reaching_out=gathering or queue is not None)
    images, texts = slice(len(embeds[0])), slice(len(embeds[1]))
    if gathering:
        images, texts = own_rows(embeds[0]), own_rows(embeds[1])
        embeds, targets = (gather_rows(embeds[0]), gather_rows(embeds[1])), targets.gathered()
    if queue is not None:
        batch_embeds, batch_targets = embeds, targets
        embeds, targets = queue.behind(embeds, targets)
        queue.push(batch_embeds, batch_targets)

    def lists(images: slice, texts: slice) -> tuple[Tensor, Tensor | None, Tensor]:
        scores = module.retrieval_similarity(embeds[0][images], embeds[1][texts])
        relevance = targets.relevance_between(images, texts) if loss.needs_relevance else None
        return scores, relevance, targets.positives()[images, texts]

    everything = slice(None)
    i2t = lists(images, everything)
    alone = not gathering and queue is None
    scores, relevance, positives = i2t if alone else lists(everything, texts)
    by_text = (scores.T, None if relevance is None else relevance.T, positives.T)
    count = _count_of_all if gathering else torch.Tensor.sum
    values = reduce_terms(loss.query_terms(*i2t), loss.query_terms(*by_text), loss.reductions(), count)
    return {term: process_count() * value for term, value in values.items()} if gathering else values


def _labelled(module: Any, targets: RetrievalTargets, *, reaching_out: bool) -> RetrievalTargets:
    """The targets with the labels that reach all candidates: a batch's own block knows only its own texts."""
    own, needed = targets.relevance, module.relevance_loss.needs_relevance
    if not needed or isinstance(own, LabelTable) or (own is not None and not reaching_out):
        return targets.with_relevance(own if needed else None)
    if (
        targets.text_features is not None
        and "_relevance_queue" in vars(module)
        and vars(module)["_relevance_queue"] is None
    ):
        return targets.with_relevance(None)
    table = getattr(getattr(getattr(module, "_trainer", None), "datamodule", None), "relevance_table", None)
    if table is None and reaching_out:
        raise ValueError(
            "a batch's own relevance block does not reach the texts of other processes or of the queue: return a "
            "RelevanceTable in retrieval_targets(batch), or set relevance_gather=False and relevance_queue_size=0"
        )
    return targets.with_relevance(table)


def _count_of_all(counts: Tensor) -> Tensor:
    return sum_over_processes(counts.sum())
