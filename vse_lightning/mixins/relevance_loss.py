"""A relevance-aware loss for a LightningModule that exists already."""

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.argument_types import require_types
from vse_lightning.checks import require_not_negative, require_whole
from vse_lightning.losses.retrieval_loss import RetrievalLoss
from vse_lightning.mixins.batch.loss import FiniteLosses, batch_terms, log_training
from vse_lightning.mixins.batch.memory_queue import MemoryQueue
from vse_lightning.mixins.batch.returned_embeddings import EmbeddingPair
from vse_lightning.mixins.batch.step import Step, step_of
from vse_lightning.mixins.host.batch_counts import (
    require_equal_batches,
    require_same_end,
    require_some_batches,
    require_validation_everywhere,
)
from vse_lightning.mixins.host.extension import Extension, HostFirst, uncompiled
from vse_lightning.mixins.host.hooks import RetrievalHooks, configure, host_arguments, refuse_assigned_step
from vse_lightning.mixins.host.loss_state import adapt_optimizers, keep_apart, load_loss, save_loss
from vse_lightning.mixins.host.model_parallel import adapt_model_parallel


def _has_loss(host: Any) -> bool:
    return bool(host.__dict__.get("_relevance_configured")) and host.relevance_loss is not None


def _training_step(self: Any, host: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    """The host's step with the relevance loss added to what it returns."""
    self.__dict__["_relevance_entered"] = True
    with step_of(self, batch, "training_step") as step:
        output = None
        if host is not None:
            with step.host_running():
                output = host(batch, *args, **kwargs)
        automatic = getattr(self, "automatic_optimization", True)
        if host is not None and (step.finished or not (automatic and _holds_loss(output))):
            return output  # added already; a host that asks for the loss itself; nothing that Lightning trains on
        if not automatic:
            raise RuntimeError(f"{type(self).__name__} optimises by hand and needs a training_step that does so: "
                               "call self.relevance_loss_of(batch) there")  # fmt: skip
        step.finish()
        embeds = step.embeddings(output, supplied=host is None)
        if self.relevance_chunk_size is not None and not step.embedded:
            rank_zero_warn(
                "relevance_chunk_size has no effect: it cuts the batches of retrieval_embeds(batch), and the "
                "embeddings were made in the host's own training_step, at once"
            )
        loss = _loss(self, step, embeds, total=host is None)
        if isinstance(output, Mapping):
            return {**output, "loss": output["loss"] + loss}
        return loss if output is None else output + loss


def _holds_loss(output: Any) -> bool:
    """Whether a step returned a loss. Of anything else but ``None``, a batch that is skipped, Lightning complains."""
    return isinstance(output.get("loss") if isinstance(output, Mapping) else output, Tensor)


def _training_signature(self: Any, batch: Any, batch_idx: int = 0) -> Any:
    """Relevance loss of the batch."""


def _loss(self: Any, step: Step, embeds: EmbeddingPair, *, total: bool = False) -> Tensor:
    """The weighted loss of a training step, logged; ``total`` where it is all that the step returns."""
    learns = total or self.relevance_weight != 0
    terms = _terms(self, step, embeds, learns=learns)
    loss: Tensor = self.relevance_weight * torch.stack(list(terms.values())).sum()
    log_training(self, loss, terms, pairs=len(embeds[0]), total=total)
    if learns and "_relevance_finite" in self.__dict__:
        self.__dict__["_relevance_finite"].add(loss, step.targets.image_ids)
    if not learns:  # not 0 times something: the host trains as it does alone
        learnable = [p.sum() for p in self.relevance_loss.parameters() if p.requires_grad]
        return 0 * torch.stack(learnable).sum() if learnable else torch.zeros_like(loss)
    return loss


def _terms(self: Any, step: Step, embeds: EmbeddingPair, *, learns: bool = True) -> dict[str, Tensor]:
    if learns and torch.is_grad_enabled() and not (embeds[0].requires_grad or embeds[1].requires_grad):
        raise RuntimeError(
            f"the image_embeds and text_embeds of {step.name} carry no gradient, so that the relevance loss would "
            "train nothing: return them undetached, or give retrieval_embeds_from or retrieval_embeds(batch)"
        )
    queue: MemoryQueue | None = self.__dict__.get("_relevance_queue")
    targets = step.resolved(embeds, 0 if queue is None else queue.pairs_seen)
    with nullcontext() if learns else torch.no_grad():
        return batch_terms(self, embeds, targets, queue)


def _on_fit_start(self: Any, host: Any) -> Any:
    groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
    held = Counter(id(parameter) for group in groups for parameter in group["params"])
    for name, parameter in self.relevance_loss.named_parameters():
        if parameter.requires_grad and not held[id(parameter)]:
            raise RuntimeError(
                f"relevance_loss.{name} is learnable but no optimizer holds it: build the optimizer from "
                "self.parameters() (or add self.relevance_loss.parameters()), or make it constant (learnable=False)"
            )
        if held[id(parameter)] > 1:
            times = held[id(parameter)]
            raise RuntimeError(f"relevance_loss.{name} is held {times} times by the optimizers, and would learn "
                               "as often: self.parameters() holds it already")  # fmt: skip
    adapt_optimizers(self)
    adapt_model_parallel(self)
    self.__dict__["_relevance_checked"] = self.__dict__["_relevance_entered"] = False
    self.__dict__["_relevance_finite"] = FiniteLosses()
    self.__dict__["_relevance_trained"] = None  # not known before the first batch
    self.__dict__.pop("_relevance_batches_known", None)
    require_validation_everywhere(self)
    return host()


def _on_train_start(self: Any, host: Any) -> Any:
    require_equal_batches(self)
    return host()


def _on_fit_end(self: Any, host: Any) -> Any:
    require_some_batches(self)
    return host()


def _on_train_batch_end(self: Any, host: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
    if not (self.__dict__["_relevance_entered"] or self.__dict__.get("_relevance_asked")):
        refuse_assigned_step(self, "training_step")
    # Lightning's outputs of a step that returned None are empty
    self.__dict__["_relevance_trained"] = bool(outputs or self.__dict__.get("_relevance_trained"))
    self.relevance_loss.clamp_()
    require_same_end(self)
    return host(outputs, *args, **kwargs)


def _on_train_epoch_end(self: Any, host: Any, *args: Any, **kwargs: Any) -> Any:
    if "_relevance_finite" in self.__dict__:  # Lightning's learning-rate finder trains before on_fit_start
        self.__dict__["_relevance_finite"].check()
    if not self.automatic_optimization and not self.__dict__.get("_relevance_asked"):
        raise RuntimeError(
            f"{type(self).__name__} optimises by hand and never asked for its relevance loss, which trained nothing: "
            "call self.relevance_loss_of(batch) in training_step and add it to what manual_backward gets"
        )
    if self.automatic_optimization and self.__dict__.get("_relevance_trained") is False:
        raise RuntimeError(
            f"training_step of {type(self).__name__} returned None for every batch, so that nothing was trained: "
            "return the loss, such as `return super().training_step(batch, batch_idx)`"
        )
    return host(*args, **kwargs)


def _on_save_checkpoint(self: Any, host: Any, checkpoint: dict[str, Any]) -> Any:
    save_loss(self, checkpoint)
    return host(checkpoint)


def _on_load_checkpoint(self: Any, host: Any, checkpoint: dict[str, Any]) -> Any:
    load_loss(self, checkpoint, self.relevance_loss if _has_loss(self) else None)
    return host(checkpoint)


class RelevanceLossMixin(RetrievalHooks):
    """Adds a relevance-aware loss to the training step of the LightningModule behind it.

    The loss is added to what the host's ``training_step`` returns (a tensor, or a mapping with ``loss``), wherever in
    the class that is defined; a host without one gets one. Embeddings come from the host in one of the three ways of
    :mod:`vse_lightning.mixins`; its encoders run once per step. Ids and labels come from
    ``retrieval_targets(batch)``, by default from the keys of
    :class:`~vse_lightning.data.ImageTextDataModule`'s batches; a batch without ids is pairs.

    With several processes each scores its own queries against everybody's candidates, and the gradients equal those
    of one process on the whole batch. All must have as many batches, which is checked where training begins or, for
    data of unknown length and without a limit, after each batch. Where one fails, the others end too, each with its
    message; for one that hangs they wait as long as ``DDPStrategy(timeout=...)`` says, by default 30 minutes, on GPUs
    10. ``train/relevance_loss`` is what is added, ``train/{term}`` its terms.

    A host that optimises by hand calls :meth:`relevance_loss_of` in its step. Without ``relevance_loss`` the mixin is
    invisible; with ``relevance_weight=0`` the loss is logged and the host trains as it does alone.

    Args:
        relevance_loss: what to add; ``None`` adds nothing.
        relevance_weight: its weight beside the host's own loss; at least 0.
        relevance_gather: with several processes, whether candidates of the others count (``False``: only one's own).
        relevance_chunk_size: call ``retrieval_embeds`` in training with so many pairs at a time and compute their
            activations again for the backward pass, so that a batch trains that would not fit; ``None`` embeds the
            batch at once.
        relevance_queue_size: pairs of past batches that are further candidates; graded losses need a table for them.

    Raises:
        ValueError: an argument out of its range.
        TypeError: (when the class is made) the mixin stands behind its host, or (when configured) the host has an
            attribute or method under a name of the mixin.

    Example:
        A host with a loss of its own, whose ``forward`` returns both embeddings, and tuple batches::

            class Coherent(RelevanceLossMixin, RetrievalMetricsMixin, TheirRetriever):
                retrieval_embeds_from = "forward"

                def retrieval_targets(self, batch):
                    images, tokens, ids = batch
                    return RetrievalTargets(ids, ids, text_ids=ids, relevance=self.table)

            Coherent(..., relevance_loss=LadderLoss(), retrieval_metrics=RetrievalMetrics())
    """

    _retrieval_arguments: ClassVar[tuple[str, ...]] = (
        "relevance_loss",
        "relevance_weight",
        "relevance_gather",
        "relevance_chunk_size",
        "relevance_queue_size",
    )
    _retrieval_names: ClassVar[tuple[str, ...]] = ("relevance_loss_of", "relevance_terms")

    training_step = Extension(_training_step, _has_loss, entry=True, supplies=_training_signature)
    on_fit_start = Extension(_on_fit_start, _has_loss)
    on_fit_end = Extension(_on_fit_end, _has_loss)
    on_train_start = Extension(_on_train_start, _has_loss)
    on_train_batch_end = Extension(_on_train_batch_end, _has_loss)
    on_train_epoch_end = Extension(_on_train_epoch_end, _has_loss, entry=True)
    on_save_checkpoint = Extension(_on_save_checkpoint, _has_loss)
    on_load_checkpoint = Extension(_on_load_checkpoint, lambda host: True)  # has a word to say without a loss too

    def __init__(
        self,
        *args: Any,
        relevance_loss: RetrievalLoss | None = None,
        relevance_weight: float = 1.0,
        relevance_gather: bool = True,
        relevance_chunk_size: int | None = None,
        relevance_queue_size: int = 0,
        **kwargs: Any,
    ) -> None:
        attributes = {
            "relevance_loss": relevance_loss,
            "relevance_weight": relevance_weight,
            "relevance_gather": relevance_gather,
            "relevance_chunk_size": relevance_chunk_size,
            "relevance_queue_size": relevance_queue_size,
        }
        if relevance_loss is None:
            super().__init__(*args, **host_arguments(RelevanceLossMixin, self, attributes), **kwargs)
            return
        if not isinstance(relevance_loss, RetrievalLoss):
            raise TypeError(
                f"relevance_loss must be a RetrievalLoss, got {type(relevance_loss).__name__}: subclass RetrievalLoss "
                "for a loss of your own (examples/own_loss.py)"
            )
        require_types(RelevanceLossMixin.__init__, self, **attributes)
        require_not_negative("relevance_weight", relevance_weight)
        if relevance_chunk_size is not None:
            require_whole("relevance_chunk_size", relevance_chunk_size)
        require_whole("relevance_queue_size", relevance_queue_size, least=0)
        super().__init__(*args, **kwargs)
        configure(self, RelevanceLossMixin, attributes)
        self.__dict__["_relevance_configured"] = True
        self.__dict__["_relevance_queue"] = MemoryQueue(relevance_queue_size) if relevance_queue_size else None
        keep_apart(self)  # type: ignore[arg-type]

    @HostFirst
    @uncompiled
    def relevance_loss_of(self, batch: Any) -> Tensor:
        """Weighted relevance loss of a batch, ready for ``manual_backward``, logged as in an extended step.

        For hosts that optimise by hand. A ``training_step`` that calls this is otherwise left alone by the mixin.

        Args:
            batch: that of the step.

        Returns:
            A scalar; 0 where no loss is configured. It can be added to another loss or go backward by itself.
        """
        if not _has_loss(self):
            return torch.zeros((), device=getattr(self, "device", None), requires_grad=True)
        self.__dict__["_relevance_asked"] = True
        with step_of(self, batch, "training_step") as step:
            if step.name == "training_step":
                step.finish()
            loss = _loss(self, step, step.embeddings())
            return loss.requires_grad_() if torch.is_grad_enabled() and not loss.requires_grad else loss  # a 0

    @HostFirst
    @uncompiled
    def relevance_terms(self, batch: Any, embeds: EmbeddingPair | None = None) -> dict[str, Tensor]:
        """Terms of the loss of a batch, unweighted, over its directions.

        Args:
            batch: what the dataloader made.
            embeds: ``(image_embeds, text_embeds)`` if they are known already.

        Returns:
            ``{term: scalar}``. Across processes their mean is the loss of the whole batch, and so are the gradients
            once they are averaged, as Lightning's strategies do.
        """
        with step_of(self, batch, "relevance_terms") as step:
            return _terms(self, step, step.embeddings() if embeds is None else embeds)
