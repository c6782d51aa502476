"""A relevance-aware loss for a LightningModule that exists already."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from vse_lightning.checks import require_not_negative, require_whole
from vse_lightning.distributed import gather_rows, own_rows, process_count, sum_over_processes
from vse_lightning.losses.retrieval_loss import RetrievalLoss, Terms, reduce_terms
from vse_lightning.mixins.chunking import embed_in_chunks
from vse_lightning.mixins.extension import Extension
from vse_lightning.mixins.hooks import Embeddings, RetrievalHooks, embeddings_in
from vse_lightning.mixins.memory_queue import MemoryQueue
from vse_lightning.targets import LabelTable, RetrievalTargets

_CHECKPOINT_KEY = "vse_lightning_relevance_loss"
_PREFIX = "relevance_loss."


def _has_loss(host: Any) -> bool:
    return getattr(host, "relevance_loss", None) is not None


def _training_step(self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """The host's step with the relevance loss added to what it returns."""
    with self._one_embedding():
        self.__dict__["_host_added_loss"] = False
        output = None if host is None else host(batch, *args, **kwargs)
        if self.__dict__["_host_added_loss"]:
            return output
        if not self.automatic_optimization:
            raise RuntimeError(
                f"{type(self).__name__} optimises by hand, so its relevance loss cannot be added to what training_step "
                "returns: call self.compute_relevance_loss(batch) in training_step and pass it to manual_backward"
            )
        if host is not None and output is None:  # the host skips this batch
            return None
        terms = self.relevance_terms(batch, embeddings_in(output))
    loss = self.relevance_weight * torch.stack(list(terms.values())).sum()
    if isinstance(output, Mapping):
        output = {**output, "loss": output["loss"] + loss}
    else:
        output = loss if output is None else output + loss
    self._log_training(output["loss"] if isinstance(output, dict) else output, terms)
    return output


def _training_signature(self: Any, batch: Any, batch_idx: int = 0) -> Any:
    """Relevance loss of the batch."""


def _on_fit_start(self: Any, host: Any) -> Any:
    held = {id(p) for optimizer in self.trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in self.relevance_loss.named_parameters():
        if parameter.requires_grad and id(parameter) not in held:
            raise RuntimeError(
                f"relevance_loss.{name} is learnable but no optimizer holds it: build the optimizer from "
                "self.parameters() (or add self.relevance_loss.parameters()), or make it constant (learnable=False)"
            )
    return host()


def _on_train_batch_end(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
    self.relevance_loss.clamp_()
    return host(*args, **kwargs)


def _on_save_checkpoint(self: Any, host: Any, checkpoint: dict[str, Any]) -> Any:
    state = self.relevance_loss.state_dict()
    if state:
        checkpoint[_CHECKPOINT_KEY] = state
    return host(checkpoint)


def _on_load_checkpoint(self: Any, host: Any, checkpoint: dict[str, Any]) -> Any:
    if _CHECKPOINT_KEY in checkpoint:
        self.relevance_loss.load_state_dict(checkpoint[_CHECKPOINT_KEY])
    return host(checkpoint)


class RelevanceLossMixin(RetrievalHooks):
    """Adds a relevance-aware loss to the training step of the LightningModule behind it.

    The host implements ``embed(batch) -> (image_embeds (N, D), text_embeds (M, D))``; if its batches are not dicts
    with the keys of :class:`~vse_lightning.data.ImageTextDataModule`, also
    ``targets(batch) -> RetrievalTargets``. The loss is added to what its ``training_step`` returns (a tensor, or a dict
    with ``loss``), wherever that is defined; a host without one gets one. ``embed`` runs once per step, and not at all
    where the step returns ``image_embeds`` and ``text_embeds`` in its dict.

    With several processes each scores its own queries against everybody's candidates, and the gradients equal those
    of one process on the whole batch.

    Without ``relevance_loss`` the mixin is invisible.

    Args:
        relevance_loss: what to add; ``None`` adds nothing.
        relevance_weight: its weight beside the host's own loss; at least 0.
        gather: with several processes, whether candidates of the others count (``False``: only one's own).
        embed_chunk_size: call ``embed`` in training with so many pairs at a time and compute their activations again
            for the backward pass, so that a batch trains that would not fit; ``None`` embeds the batch at once.
        queue_size: pairs of past batches that are further candidates; graded losses need a table for them.

    Example:
        A host with tuple batches and a loss of its own::

            class Coherent(RelevanceLossMixin, RetrievalMetricsMixin, TheirRetriever):
                def targets(self, batch):
                    images, tokens, ids = batch
                    return RetrievalTargets(image_ids=ids, text_ids=None, text_image_ids=ids, relevance=self.table)

            Coherent(..., relevance_loss=LadderLoss(), retrieval_metrics=RetrievalMetrics())
    """

    own_arguments: ClassVar[tuple[str, ...]] = (
        "relevance_loss",
        "relevance_weight",
        "gather",
        "embed_chunk_size",
        "queue_size",
    )

    training_step = Extension(_training_step, _has_loss, supplies=_training_signature)
    on_fit_start = Extension(_on_fit_start, _has_loss)
    on_train_batch_end = Extension(_on_train_batch_end, _has_loss)
    on_save_checkpoint = Extension(_on_save_checkpoint, _has_loss)
    on_load_checkpoint = Extension(_on_load_checkpoint, _has_loss)

    def __init__(
        self,
        *args: Any,
        relevance_loss: RetrievalLoss | None = None,
        relevance_weight: float = 1.0,
        gather: bool = True,
        embed_chunk_size: int | None = None,
        queue_size: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        require_not_negative("relevance_weight", relevance_weight)
        if embed_chunk_size is not None:
            require_whole("embed_chunk_size", embed_chunk_size)
        require_whole("queue_size", queue_size, least=0)
        self.relevance_loss: Any = relevance_loss
        self.relevance_weight, self.gather, self.embed_chunk_size = relevance_weight, gather, embed_chunk_size
        self._queue = MemoryQueue(queue_size) if queue_size else None
        if relevance_loss is not None:
            # the loss has its own place in checkpoints, so that the host alone can read them, and the other way round
            self.register_state_dict_post_hook(_leave_out_loss)
            self.register_load_state_dict_pre_hook(_fill_in_loss)

    def compute_relevance_loss(self, batch: Any) -> Tensor:
        """Weighted relevance loss of a batch, ready for ``backward``.

        For hosts that optimise by hand: a ``training_step`` that calls this is left alone by the mixin.
        """
        self.__dict__["_host_added_loss"] = True
        terms = self.relevance_terms(batch)
        return self.relevance_weight * torch.stack(list(terms.values())).sum()

    def relevance_terms(self, batch: Any, embeds: Embeddings | None = None) -> dict[str, Tensor]:
        """Terms of the loss of a batch, unweighted, both directions.

        Args:
            batch: what the dataloader made.
            embeds: ``(image_embeds, text_embeds)`` if they are known already.

        Returns:
            ``{term: scalar}``. Across processes their mean is the loss of the whole batch, and so are the gradients
            once they are averaged, as Lightning's strategies do.
        """
        embeds = self._embeddings(batch, embeds)
        targets = self.targets(batch).check(*embeds)
        gathering = self.gather and process_count() > 1
        targets.relevance = self._labels(targets, gathering)
        images, texts = slice(len(embeds[0])), slice(len(embeds[1]))
        if gathering:
            images, texts = own_rows(embeds[0]), own_rows(embeds[1])
            embeds, targets = (gather_rows(embeds[0]), gather_rows(embeds[1])), targets.gathered()
        batch_embeds, batch_targets = embeds, targets
        if self._queue is not None:
            embeds, targets = self._queue.behind(embeds, targets)
            self._queue.push(batch_embeds, batch_targets)
        i2t = self._lists(embeds, targets, images=images)
        alone = not gathering and self._queue is None
        t2i = i2t if alone else self._lists(embeds, targets, texts=texts)
        count = _count_of_all if gathering else torch.Tensor.sum
        values = reduce_terms(*self._terms(i2t, t2i), self.relevance_loss.reductions(), count)
        return {term: process_count() * value for term, value in values.items()} if gathering else values

    def _call_embed(self, embed: Callable[[Any], Embeddings], batch: Any) -> Embeddings:
        if self.embed_chunk_size is None or not self.training:
            return embed(batch)
        return embed_in_chunks(embed, self, batch, self.embed_chunk_size)  # type: ignore[arg-type]

    def _labels(self, targets: RetrievalTargets, gathering: bool) -> Tensor | LabelTable | None:
        """Where relevance comes from: a batch's own block says nothing of the other processes' candidates."""
        if not self.relevance_loss.needs_relevance:
            return None
        if isinstance(targets.relevance, LabelTable):
            return targets.relevance
        reaching_out = gathering or self._queue is not None
        if targets.relevance is not None and not reaching_out:
            return targets.relevance
        if targets.text_features is not None and self._queue is None:
            return None
        table = getattr(getattr(getattr(self, "_trainer", None), "datamodule", None), "relevance_table", None)
        if table is None and reaching_out and (targets.relevance is not None or self._queue is not None):
            raise ValueError(
                "a batch's own relevance block does not reach the texts of other processes or of the queue: return a "
                "RelevanceTable from targets(batch), or set gather=False and queue_size=0"
            )
        return table

    def _lists(
        self,
        embeds: Embeddings,
        targets: RetrievalTargets,
        images: slice = slice(None),
        texts: slice = slice(None),
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Scores, relevance and positives of some images with some texts."""
        scores = self.similarity(embeds[0][images], embeds[1][texts])
        relevance = targets.relevance_between(images, texts) if self.relevance_loss.needs_relevance else None
        return scores, relevance, targets.positives()[images, texts]

    def _terms(
        self, i2t: tuple[Tensor, Tensor | None, Tensor], t2i: tuple[Tensor, Tensor | None, Tensor]
    ) -> tuple[Terms, Terms]:
        """Terms of the image queries, and of the text queries: the same function on the transposes."""
        scores, relevance, positives = t2i
        by_text = (scores.T, None if relevance is None else relevance.T, positives.T)
        return self.relevance_loss.query_terms(*i2t), self.relevance_loss.query_terms(*by_text)

    def _log_training(self, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Log ``train/loss``, unless the host did, and ``train/{term}``."""
        trainer = getattr(self, "_trainer", None)
        if trainer is None:
            return
        values = {f"train/{term}": value.detach() for term, value in terms.items()}
        # results last for an epoch: only before our first entry do they tell whether the host logs the total itself
        if "_logs_total" not in self.__dict__:
            logged = trainer._results is not None and "training_step.train/loss" in trainer._results
            self.__dict__["_logs_total"] = not logged
        if self.__dict__["_logs_total"]:
            values["train/loss"] = loss.detach()
        self.log_dict(values, sync_dist=process_count() > 1)


def _count_of_all(counts: Tensor) -> Tensor:
    return sum_over_processes(counts.sum())


def _leave_out_loss(module: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix + _PREFIX)]:
        del state_dict[key]


def _fill_in_loss(module: Any, state_dict: dict[str, Any], prefix: str, *unused: Any) -> None:
    for name, value in module.relevance_loss.state_dict().items():
        state_dict.setdefault(prefix + _PREFIX + name, value)
