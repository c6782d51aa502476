"""Training that goes on from a checkpoint under another optimizer, schedule or set of parameters.

Lightning restores the rates of the checkpoint over those that the user configured. Here the configuration counts: rates
and options are the user's, the moments are the checkpoint's.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

Setup = dict[str, Any]
"""How an optimizer and its schedules are configured, in plain values."""

SETUP_KEY = "retriever_optimizer"
"""Where a checkpoint says how its optimizer was configured."""

_IN_EVERY_GROUP = ("params", "lr", "initial_lr")
_PROGRESS = ("base_lrs", "last_epoch", "_last_lr", "_step_count", "_is_initial", "_get_lr_called_within_step")
_MOMENTS_NEEDED_BY = ("amsgrad", "centered", "momentum")
_OFF = (None, "0", "0.0", "False")
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
            options = [name for name in old if name in new and name not in _IN_EVERY_GROUP]
            options = [name for name in options if not (scheduled and name in _CYCLED_BY_SCHEDULES)]
            lines += [
                f"{name} is {old[name]}, your configuration says {new[name]}"
                for name in options
                if old[name] != new[name]
            ]
    if lines:
        reason = "the checkpoint does not say how its optimizer was configured, so that its rates and options stay"
        rank_zero_warn(f"{reason}: {'; '.join(lines)}")


def setup_of(optimizer: Optimizer, schedules: Sequence[LRSchedulerConfig], module: nn.Module) -> Setup:
    """How an optimizer that has made no step yet is configured.

    Args:
        optimizer: of the module's parameters.
        schedules: of its rates.
        module: what is trained.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = optimizer.param_groups
    return {
        "optimizer": type(optimizer).__name__,
        "rates": [float(group.get("initial_lr", group["lr"])) for group in groups],
        "options": [{name: repr(v) for name, v in group.items() if name not in _IN_EVERY_GROUP} for group in groups],
        "parameters": [[names.get(id(parameter), "") for parameter in group["params"]] for group in groups],
        "schedules": [f"{each.interval} {each.frequency} {_configuration(each.scheduler)}" for each in schedules],
    }


def reconfigure(
    checkpoint: dict[str, Any], before: Setup, now: Setup, optimizer: Optimizer, schedules: Sequence[LRSchedulerConfig]
) -> None:
    """Change the states of optimizer and schedules in a checkpoint into what they are under another configuration.

    Rates are those that the new configuration has at this point of the training. A schedule that follows a metric
    cannot be run again: beside one, rates change in proportion.

    Args:
        checkpoint: whose states will be loaded.
        before: the setup that it was saved with.
        now: the present setup.
        optimizer: without a step yet; takes the rates of the present schedules as they advance.
        schedules: without a step yet; advance to the progress in the checkpoint.
    """
    if before == now:
        return
    old = checkpoint["optimizer_states"][0]
    state = _moments(old, before, now, optimizer)
    rates_differ = any(before[what] != now[what] for what in ("rates", "schedules"))
    scheduled = bool(before["schedules"] or now["schedules"])  # or the module changes its rates by hand, if at all
    run_again = rates_differ and scheduled and not any(each.reduce_on_plateau for each in schedules)
    if run_again:
        _advance(schedules, *_progress(checkpoint))
    groups = optimizer.state_dict()["param_groups"]
    if not run_again and len(groups) == len(old["param_groups"]):
        for place, (group, of_checkpoint) in enumerate(zip(groups, old["param_groups"], strict=True)):
            options, wanted = before["options"][place], now["options"][place]
            group |= {name: of_checkpoint[name] for name in wanted if options.get(name) == wanted[name]}
            group["lr"] = _in_proportion(of_checkpoint["lr"], before["rates"][place], now["rates"][place])
    checkpoint["optimizer_states"] = [{"state": state, "param_groups": groups}]
    if rates_differ:
        kept = {} if run_again else dict(zip(before["schedules"], checkpoint["lr_schedulers"], strict=True))
        checkpoint["lr_schedulers"] = [
            _rebased(kept[described], each.scheduler) if described in kept else each.scheduler.state_dict()
            for each, described in zip(schedules, now["schedules"], strict=True)
        ]


def _moments(old: Mapping[str, Any], before: Setup, now: Setup, optimizer: Optimizer) -> dict[int, Any]:
    """The state of each parameter by its present number; nothing, with a word, where it is of no use."""
    numbered = [name for group in now["parameters"] for name in group]
    saved, present = (
        [name for group in of["parameters"] for name in group if not _is_of_loss(name)] for of in (before, now)
    )
    sizes = [len(group["params"]) for group in old["param_groups"]]
    if not _same_state(before, now):
        reason = f"it was {before['optimizer']} and is {now['optimizer']} now, or needs other moments"
    elif saved == present and sizes == [len(group["params"]) for group in optimizer.param_groups]:
        return dict(old["state"])
    elif sum(sizes) == len(saved):
        places = {name: place for place, name in enumerate(saved) if place in old["state"]}
        return {number: old["state"][places[name]] for number, name in enumerate(numbered) if name in places}
    else:
        reason = "it held other parameters"
    rank_zero_warn(f"the optimizer starts without what the checkpoint knows of its moments: {reason}")
    return {}


def _same_state(before: Setup, now: Setup) -> bool:
    """Whether two optimizers remember the same of a parameter."""
    classes = {before["optimizer"], now["optimizer"]}
    needs = [
        {tuple(group.get(name) in _OFF for name in _MOMENTS_NEEDED_BY) for group in of["options"]}
        for of in (before, now)
    ]
    return (len(classes) == 1 or classes == {Adam.__name__, AdamW.__name__}) and needs[0] == needs[1]


def _is_of_loss(name: str) -> bool:
    return name.startswith("relevance_loss.")


def _progress(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Optimizer steps and epochs of which all batches are done."""
    loop = checkpoint["loops"]["fit_loop"]
    epochs = loop["epoch_progress"]["current"]
    done = loop["epoch_loop.batch_progress"]["is_last_batch"]
    return int(checkpoint["global_step"]), int(epochs["ready" if done else "processed"])


def _advance(schedules: Sequence[LRSchedulerConfig], steps: int, epochs: int) -> None:
    """Run the schedules as the training did, epochs of equal length assumed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")  # no step of the optimizer before it
        passed = 0
        for step in range(1, steps + 1):
            _step(schedules, "step", step)
            while passed < step * epochs // steps:
                passed += 1
                _step(schedules, "epoch", passed)


def _step(schedules: Sequence[LRSchedulerConfig], interval: str, count: int) -> None:
    for each in schedules:
        if each.interval == interval and count % each.frequency == 0:
            each.scheduler.step()  # type: ignore[call-arg]


def _in_proportion(rate: float, before: float, now: float) -> float:
    if before == now:  # exactly as it was
        return rate
    if rate == before:
        return now
    return rate * now / before if before else now


def _rebased(state: Mapping[str, Any], scheduler: Any) -> dict[str, Any]:
    return {**state, **({"base_lrs": scheduler.base_lrs} if "base_lrs" in state else {})}


def _configuration(scheduler: Any) -> str:
    return f"{type(scheduler).__name__} {_without_progress(scheduler.state_dict())}"


def _without_progress(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _without_progress(value) for name, value in state.items() if name not in _PROGRESS}
    return [_without_progress(value) for value in state] if isinstance(state, list) else state
