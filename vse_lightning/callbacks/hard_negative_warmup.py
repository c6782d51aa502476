"""All negatives before the hardest ones."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_whole
from vse_lightning.losses import RetrievalLoss


class HardNegativeWarmup(Callback):
    """Trains the first epochs on all negatives, then on the hardest.

    From random weights the hardest negative of a query is as likely to be the worst direction to move in as the best:
    all embeddings collapse to one point, where a triplet loss rests at its margin for ever. Every part of the loss
    whose ``mining`` is ``"hardest"`` (triplet, LSEH, the first rung of the ladder) mines ``"all"`` for the first
    epochs.

    Args:
        epochs: how many epochs of warm-up; at least 1.

    References:
        Faghri et al., "VSE++", BMVC 2018, whose issue tracker reports the collapse; Chen et al., "Learning the Best
        Pooling Strategy for Visual Semantic Embedding", CVPR 2021, warm up for an epoch.
    """

    @typed
    def __init__(self, epochs: int = 1) -> None:
        require_whole("epochs", epochs)
        self.epochs = epochs
        self._warming: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start as the epoch wants it: a run that is resumed within one does not start that epoch again."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mine all negatives in the first epochs; go back to the hardest after them."""
        if trainer.current_epoch >= self.epochs:
            self._to_hardest()
        elif not self._warming:
            self._warming = [loss for loss in pl_module.modules() if _mines_hardest(loss)]
            for loss in self._warming:
                loss.mining = "all"

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the loss as it was configured."""
        self._to_hardest()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the loss as it was configured."""
        self._to_hardest()

    def _to_hardest(self) -> None:
        for loss in self._warming:
            loss.mining = "hardest"
        self._warming = []


def _mines_hardest(module: Any) -> bool:
    return isinstance(module, RetrievalLoss) and getattr(module, "mining", None) == "hardest"
