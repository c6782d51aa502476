"""What validation said before fine-tuning and says after it."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vse_lightning.mixins.host.lightning_internals import validated_again


class BeforeAndAfter(Callback):
    """Validates before the first step of a fit, and keeps it beside the values of the best checkpoint.

    ``vse-lightning fit`` adds it where the data has ``eval_sources``, and prints what was gained on the target and lost
    on the others. A resumed fit remembers both.

    Attributes:
        before: values by logged name, before the first step.
        after: the same of the validation in which the checkpoint callback's monitored value was best, or of the last;
            empty before the end of the fit.
    """

    def __init__(self) -> None:
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self._validations: list[dict[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate, unless a checkpoint remembers what was before; forget an earlier fit."""
        if trainer.global_step == 0:
            self.before, self.after, self._validations = validated_again(trainer), {}, []
        elif not self.before:
            rank_zero_warn("the checkpoint of a fit without BeforeAndAfter does not know the values before it")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the values."""
        if not trainer.sanity_checking and self.before:
            values = trainer.callback_metrics
            self._validations.append({name: float(values[name]) for name in self.before if name in values})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the values of the best checkpoint."""
        callback: Any = trainer.checkpoint_callback
        best = getattr(callback, "best_model_score", None)
        known = (
            [] if best is None else [each for each in self._validations if each.get(callback.monitor) == float(best)]
        )
        self.after = next(iter([*known, *self._validations[::-1]]), {})

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"before": self.before, "validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.before, self._validations = state_dict["before"], state_dict["validations"]
