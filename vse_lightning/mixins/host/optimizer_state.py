"""Optimizer states of a checkpoint without the parameters of the loss, so that the host alone can resume from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

OptimizerState = dict[str, Any]


def take_out(
    states: Sequence[OptimizerState], optimizers: Sequence[Optimizer], parameters: Mapping[str, nn.Parameter]
) -> OptimizerState:
    """Remove what belongs to some ``parameters`` from the ``states`` of the ``optimizers``, in place.

    Returns:
        What was removed, by parameter name.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    removed: dict[str, Any] = {}
    for state, optimizer in zip(states, optimizers, strict=True):
        groups = []
        for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            places = list(zip(map(id, group["params"]), saved["params"], strict=True))
            removed |= {names[key]: state["state"].get(place) for key, place in places if key in names}
            remaining = [place for key, place in places if key not in names]
            if remaining or not places:
                groups.append({**saved, "params": remaining})
        _number(state, groups)
    return removed


def put_back(
    states: Sequence[OptimizerState],
    optimizers: Sequence[Optimizer],
    parameters: Mapping[str, nn.Parameter],
    removed: Mapping[str, Any],
) -> None:
    """Make ``states`` without the ``parameters`` fit the ``optimizers`` that hold them, in place.

    A parameter starts afresh where nothing of its name and shape was ``removed``.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    fitting = {name: state for name, state in removed.items() if name in parameters and _fits(state, parameters[name])}
    for state, optimizer in zip(states, optimizers, strict=False):
        if [len(group["params"]) for group in state["param_groups"]] != _sizes_without(optimizer, names):
            continue  # not this host's optimizer: PyTorch says so
        saved_groups, groups = iter(state["param_groups"]), []
        for group in optimizer.param_groups:
            saved = {**group, "params": []} if _is_alone(group, names) else next(saved_groups)
            remaining = iter(saved["params"])
            groups.append({**saved, "params": [names.get(id(each)) or next(remaining) for each in group["params"]]})
        state["state"] |= fitting
        _number(state, groups)


def _number(state: OptimizerState, groups: Sequence[OptimizerState]) -> None:
    """Give an optimizer's state these groups, and number their parameters through as PyTorch does."""
    numbers = {place: number for number, place in enumerate(place for group in groups for place in group["params"])}
    state["state"] = {numbers[place]: of_one for place, of_one in state["state"].items() if place in numbers}
    state["param_groups"] = [{**group, "params": [numbers[place] for place in group["params"]]} for group in groups]


def _is_alone(group: Mapping[str, Any], names: Mapping[int, str]) -> bool:
    """Whether a group holds nothing else."""
    return bool(group["params"]) and all(id(parameter) in names for parameter in group["params"])


def _sizes_without(optimizer: Optimizer, names: Mapping[int, str]) -> list[int]:
    groups = [group["params"] for group in optimizer.param_groups if not _is_alone(group, names)]
    return [sum(id(parameter) not in names for parameter in group) for group in groups]


def _fits(state: Any, parameter: nn.Parameter) -> bool:
    moments = [value for value in (state or {}).values() if isinstance(value, Tensor) and value.ndim == parameter.ndim]
    return bool(state) and all(moment.shape == parameter.shape for moment in moments if moment.ndim)
