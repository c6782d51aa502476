"""How an optimizer and its schedules are configured, and their states in a checkpoint under another configuration."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

Setup = dict[str, Any]
"""How an optimizer and its schedules are configured, in plain values."""

IN_EVERY_GROUP = ("params", "lr", "initial_lr")
_PROGRESS = ("base_lrs", "last_epoch", "_last_lr", "_step_count", "_is_initial", "_get_lr_called_within_step")
_MOMENTS_NEEDED_BY = ("amsgrad", "centered", "momentum")
_OFF = (None, "0", "0.0", "False")


def setup_of(optimizer: Optimizer, schedules: Sequence[LRSchedulerConfig], module: nn.Module) -> Setup:
    """How an optimizer that has made no step yet is configured.

    Args:
        optimizer: of the module's parameters.
        schedules: of its rates.
        module: what is trained.
    """
    # a parameter that a loss shares with the model has two names, of which the model's is the later
    names = {id(parameter): name for name, parameter in module.named_parameters(remove_duplicate=False)}
    groups = optimizer.param_groups
    return {
        "optimizer": type(optimizer).__name__,
        "rates": [float(group.get("initial_lr", group["lr"])) for group in groups],
        "options": [{name: repr(v) for name, v in group.items() if name not in IN_EVERY_GROUP} for group in groups],
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
