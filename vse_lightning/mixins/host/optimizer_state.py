"""Optimizer states of a checkpoint without the parameters of the loss, so that the host alone can resume from it."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Any]


def take_out(states: Sequence[State], optimizers: Sequence[Optimizer], parameters: Mapping[str, nn.Parameter]) -> State:
    """Remove what belongs to some ``parameters`` from the ``states`` of the ``optimizers``, in place.

    Returns:
        What was removed, by parameter name.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    removed: State = {}
    for state, optimizer in zip(states, optimizers, strict=True):
        numbers, kept = count(), {}
        groups = []
        for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            places = []
            for parameter, place in zip(group["params"], saved["params"], strict=True):
                if id(parameter) in names:
                    removed[names[id(parameter)]] = state["state"].get(place)
                else:
                    places.append(number := next(numbers))
                    if place in state["state"]:
                        kept[number] = state["state"][place]
            if places or not group["params"]:
                groups.append({**saved, "params": places})
        state["state"], state["param_groups"] = kept, groups
    return removed


def put_back(
    states: Sequence[State],
    optimizers: Sequence[Optimizer],
    parameters: Mapping[str, nn.Parameter],
    removed: Mapping[str, Any],
) -> None:
    """Make ``states`` without the ``parameters`` fit the ``optimizers`` that hold them, in place.

    A parameter starts afresh where nothing of its name and shape was ``removed``.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    for state, optimizer in zip(states, optimizers, strict=False):
        if [len(group["params"]) for group in state["param_groups"]] != _sizes_without(optimizer, names):
            continue  # not this host's optimizer: PyTorch says so
        numbers, full, groups = count(), {}, []
        saved_groups = iter(state["param_groups"])
        for group in optimizer.param_groups:
            alone = _is_alone(group, names)
            saved = {**group, "params": []} if alone else next(saved_groups)
            places, remaining = [], iter(saved["params"])
            for parameter in group["params"]:
                places.append(number := next(numbers))
                if id(parameter) not in names:
                    place = next(remaining)
                    if place in state["state"]:
                        full[number] = state["state"][place]
                elif _fits(removed.get(names[id(parameter)]), parameter):
                    full[number] = removed[names[id(parameter)]]
            groups.append({**saved, "params": places})
        state["state"], state["param_groups"] = full, groups


def _is_alone(group: Mapping[str, Any], names: Mapping[int, str]) -> bool:
    """Whether a group holds nothing else."""
    return bool(group["params"]) and all(id(parameter) in names for parameter in group["params"])


def _sizes_without(optimizer: Optimizer, names: Mapping[int, str]) -> list[int]:
    groups = [group["params"] for group in optimizer.param_groups if not _is_alone(group, names)]
    return [sum(id(parameter) not in names for parameter in group) for group in groups]


def _fits(state: Any, parameter: nn.Parameter) -> bool:
    moments = [value for value in (state or {}).values() if isinstance(value, Tensor) and value.ndim == parameter.ndim]
    return bool(state) and all(moment.shape == parameter.shape for moment in moments if moment.ndim)
