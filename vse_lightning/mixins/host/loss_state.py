"""The loss in checkpoints: under a key of its own, so that the host alone reads them, and any other loss too."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.mixins.host.extension import is_lightning_default
from vse_lightning.mixins.host.lightning_internals import trainer_of

KEY = "vse_lightning_relevance_loss"
PREFIX = "relevance_loss."

OptimizerState = dict[str, Any]


def save_loss(module: Any, checkpoint: dict[str, Any]) -> None:
    """Move what belongs to the loss, in the weights and in the optimizers, under its own key, and add its queue."""
    state = _own_state(module, module.relevance_loss)
    queue = module.__dict__.get("_relevance_queue")
    if not state and queue is None:
        return
    saved: dict[str, Any] = {"class": type(module.relevance_loss).__name__, "state": state, "optimizer": {}}
    optimizers = getattr(trainer_of(module), "optimizers", [])
    states = checkpoint.get("optimizer_states", [])
    if len(states) == len(optimizers) and all("param_groups" in of_one for of_one in states):
        saved["optimizer"] = _take_out(states, optimizers, _learnable(module))
        saved["queue"] = None if queue is None else queue.state_dict()
    checkpoint[KEY] = saved


def load_loss(module: Any, checkpoint: dict[str, Any], loss: nn.Module | None) -> None:
    """Load the loss's parameters where they fit the present loss, and leave them out with a word where they do not."""
    if loss is not None and _may_train(module, loss):
        module.__dict__["_relevance_checkpoint"] = checkpoint  # for the optimizers, which are restored later
        if getattr(trainer_of(module), "optimizers", None):  # or are there: a Tuner restores amid a fit
            adapt_optimizers(module)
    saved = checkpoint.get(KEY)
    if saved is None:
        return
    queue = module.__dict__.get("_relevance_queue")
    if queue is not None and saved.get("queue") is not None and _is_fitting(module):
        queue.load_state_dict(saved["queue"])
    if loss is not None and _shapes(_own_state(module, loss)) == _shapes(saved["state"]):
        loss.load_state_dict(loss.state_dict() | saved["state"])
    elif saved["state"] and _may_train(module, loss):
        now = "there is no loss now" if loss is None else f"the loss is now {type(loss).__name__}, which starts afresh"
        rank_zero_warn(f"the checkpoint's {saved['class']} has learnt {', '.join(saved['state'])}: left out, as {now}")


def _may_train(module: Any, loss: nn.Module | None) -> bool:
    """Whether the loss would be of any use: not in validation, test and prediction, nor where nothing trains."""
    if trainer_of(module) is not None:
        return _is_fitting(module)
    return loss is not None or not is_lightning_default(module.training_step)


def _is_fitting(module: Any) -> bool:
    state = getattr(trainer_of(module), "state", None)
    return getattr(getattr(state, "fn", None), "value", None) == "fit"


def adapt_optimizers(module: Any) -> None:
    """Make the optimizer states of the checkpoint that is being resumed fit the present loss."""
    checkpoint = module.__dict__.pop("_relevance_checkpoint", None)
    if checkpoint is not None and "optimizer_states" in checkpoint:
        removed = checkpoint.get(KEY, {}).get("optimizer", {})
        _put_back(checkpoint["optimizer_states"], module.trainer.optimizers, _learnable(module), removed)


def keep_apart(module: nn.Module) -> None:
    """Keep the loss out of the module's ``state_dict``, which is the host's alone."""
    module.register_state_dict_post_hook(_leave_out_loss)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(_fill_in_loss)  # type: ignore[no-untyped-call]


def _leave_out_loss(module: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix + PREFIX)]:
        del state_dict[key]


def _fill_in_loss(module: Any, state_dict: dict[str, Any], prefix: str, *unused: Any) -> None:
    for name, value in module.relevance_loss.state_dict().items():
        state_dict.setdefault(prefix + PREFIX + name, value)


def _learnable(module: Any) -> dict[str, nn.Parameter]:
    """Parameters of the loss, without those that are the host's too."""
    of_host = _of_host(module)
    return {name: each for name, each in module.relevance_loss.named_parameters() if id(each) not in of_host}


def _own_state(module: Any, loss: nn.Module) -> dict[str, Any]:
    of_host = _of_host(module)
    shared = {name for name, each in loss.named_parameters(remove_duplicate=False) if id(each) in of_host}
    return {name: value for name, value in loss.state_dict().items() if name not in shared}


def _of_host(module: nn.Module) -> set[int]:
    named = module.named_parameters(remove_duplicate=False)
    return {id(parameter) for name, parameter in named if not name.startswith(PREFIX)}


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _take_out(
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


def _put_back(
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
