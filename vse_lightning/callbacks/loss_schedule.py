"""A weight of the loss that moves while training."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_not_negative, require_whole
from vse_lightning.losses import WeightedSumLoss

WHOLE_LOSS = "relevance_weight"


class LossSchedule(Callback):
    """Moves a weight linearly from ``start`` to ``end`` over the first epochs, step by step, and keeps it there.

    For a graded loss that should come in when a triplet or contrastive loss has done the rough work, or fade out. The
    weight is a function of the epoch and the batch, so a resumed run goes on where it was, also within an epoch.

    Args:
        term: a loss of the module's :class:`~vse_lightning.losses.WeightedSumLoss` by its name there, or
            ``"relevance_weight"``: the weight of the whole relevance loss beside the host's own.
        start: the weight at the first step; at least 0.
        end: the weight after the epochs; at least 0.
        epochs: over how many epochs it moves; at least 1.

    Raises:
        ValueError: an argument out of its range, or (when training starts) the module has no such term.

    Example:
        >>> LossSchedule("smooth_ndcg", start=0.0, end=1.0, epochs=4).weight(epoch=1, share_of_epoch=0.5)
        0.375
    """

    @typed
    def __init__(self, term: str, start: float, end: float, epochs: int) -> None:
        require_not_negative("start", start)
        require_not_negative("end", end)
        require_whole("epochs", epochs)
        self.term, self.start, self.end, self.epochs = term, start, end, epochs

    @property
    def state_key(self) -> str:
        """Tells the schedules of several terms apart in checkpoints."""
        return self._generate_state_key(term=self.term)

    def weight(self, epoch: int, share_of_epoch: float = 0.0) -> float:
        """The weight in an epoch, from 0, of which a share in [0, 1] is over."""
        return self.start + (self.end - self.start) * min(1.0, (epoch + share_of_epoch) / self.epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look the term up before anything is trained."""
        self._set(pl_module, self.weight(trainer.current_epoch))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Move the weight."""
        batches = trainer.num_training_batches
        share = batch_idx / batches if batches and batches != float("inf") else 0.0
        self._set(pl_module, self.weight(trainer.current_epoch, share))

    def _set(self, module: Any, weight: float) -> None:
        loss = getattr(module, "relevance_loss", None)
        require(loss is not None, "LossSchedule({!r}) needs a module with a relevance_loss, got none", self.term)
        if self.term == WHOLE_LOSS:
            module.relevance_weight = weight
            return
        terms = loss.weights if isinstance(loss, WeightedSumLoss) else {}
        rule = "term must be 'relevance_weight' or a loss of the module's WeightedSumLoss ({}), got {!r}"
        require(self.term in terms, rule, ", ".join(terms) or f"it has a {type(loss).__name__}", self.term)
        terms[self.term] = weight
