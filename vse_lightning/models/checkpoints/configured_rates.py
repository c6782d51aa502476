"""Training that goes on from a checkpoint under another optimizer, schedule or set of parameters.

Lightning restores the rates of the checkpoint over those that the user configured. Here the configuration counts: rates
and options are the user's, the moments are the checkpoint's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer

from vse_lightning.models.checkpoints.optimizer_setup import IN_EVERY_GROUP, Setup, reconfigure, setup_of

SETUP_KEY = "retriever_optimizer"
"""Where a checkpoint says how its optimizer was configured."""

_CYCLED_BY_SCHEDULES = ("betas", "momentum")


class ConfiguredRates(Callback):
    """Lets the configured rates and options count where training goes on from a checkpoint, and says what differs.

    Checkpoints written beside it say how their optimizer was configured, so that a difference can be seen. Where a
    module steps its schedules by itself, or a checkpoint says nothing, the checkpoint's rates stay, with a warning.
    """

    def __init__(self) -> None:
        self._checkpoint: dict[str, Any] | None = None  # that training goes on from
        self._setups: list[Setup] = []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember what Lightning restores the optimizer from, after the start of the training."""
        self._checkpoint = checkpoint if trainer.state.fn == TrainerFn.FITTING else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the configuration count."""
        optimizers, schedules = trainer.optimizers, trainer.lr_scheduler_configs
        of_each = [[each for each in schedules if each.scheduler.optimizer is optimizer] for optimizer in optimizers]
        self._setups = [setup_of(*one, pl_module) for one in zip(optimizers, of_each, strict=True)]
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is None or not checkpoint.get("optimizer_states"):
            return
        if SETUP_KEY not in checkpoint:
            _warn_of_unknown(checkpoint, optimizers, bool(schedules))
            return
        before: list[Setup] = checkpoint[SETUP_KEY]
        differences = differences_of(before, self._setups)
        by_itself = not pl_module.automatic_optimization and (len(optimizers) > 1 or schedules)
        if by_itself and differences:
            reason = "the module steps its optimizers by itself, so that the checkpoint's rates and options stay"
            rank_zero_warn(f"{reason}: {'; '.join(differences)}")
        elif len(before) == len(optimizers) == 1:
            for line in differences:
                rank_zero_info(line)
            reconfigure(checkpoint, before[0], self._setups[0], optimizers[0], schedules)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say how the optimizers are configured."""
        if self._setups and checkpoint.get("optimizer_states"):
            checkpoint[SETUP_KEY] = self._setups


def differences_of(before: Sequence[Setup], now: Sequence[Setup]) -> list[str]:
    """A line for each rate, option or schedule that differs between the optimizers of a checkpoint and the present."""
    old, new = (dict(_facts(setups)) for setups in (before, now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {old.get(name, 'none')} in the checkpoint, {new.get(name, 'none')} now" for name in names]


def _facts(setups: Sequence[Setup]) -> Iterator[tuple[str, str]]:
    for number, setup in enumerate(setups):
        which = "optimizer" if len(setups) == 1 else f"optimizer {number}"
        yield which, setup["optimizer"]
        for group, (rate, options) in enumerate(zip(setup["rates"], setup["options"], strict=True)):
            of_group = which if len(setup["rates"]) == 1 else f"{which}, group {group}"
            yield f"{of_group}, lr", f"{rate:g}"
            yield from ((f"{of_group}, {name}", value) for name, value in options.items())
        yield from ((f"{which}, schedule {place}", told) for place, told in enumerate(setup["schedules"]))


def _warn_of_unknown(checkpoint: Mapping[str, Any], optimizers: Sequence[Optimizer], scheduled: bool) -> None:
    """Compare rates and options with those of a checkpoint that does not say whether they were configured."""
    lines = []
    for state, optimizer in zip(checkpoint["optimizer_states"], optimizers, strict=False):
        for old, new in zip(state["param_groups"], optimizer.param_groups, strict=False):
            rates = [group.get("initial_lr", group["lr"]) for group in (old, new)]
            lines += [] if rates[0] == rates[1] else [f"lr is {rates[0]:g}, your configuration says {rates[1]:g}"]
            options = [name for name in old if name in new and name not in IN_EVERY_GROUP]
            options = [name for name in options if not (scheduled and name in _CYCLED_BY_SCHEDULES)]
            lines += [
                f"{name} is {old[name]}, your configuration says {new[name]}"
                for name in options
                if old[name] != new[name]
            ]
    if lines:
        reason = "the checkpoint does not say how its optimizer was configured, so that its rates and options stay"
        rank_zero_warn(f"{reason}: {'; '.join(lines)}")
