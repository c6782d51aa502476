"""The loss in checkpoints: under a key of its own, so that the host alone reads them, and any other loss too."""

from typing import Any

from torch import nn
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.mixins.host.extension import is_lightning_default
from vse_lightning.mixins.host.lightning_internals import trainer_of
from vse_lightning.mixins.host.optimizer_state import put_back, take_out

KEY = "vse_lightning_relevance_loss"
PREFIX = "relevance_loss."


def save_loss(module: Any, checkpoint: dict[str, Any]) -> None:
    """Move what belongs to the loss, in the weights and in the optimizers, under its own key."""
    state = module.relevance_loss.state_dict()
    if not state:
        return
    saved = {"class": type(module.relevance_loss).__name__, "state": state, "optimizer": {}}
    optimizers = getattr(trainer_of(module), "optimizers", [])
    states = checkpoint.get("optimizer_states", [])
    if len(states) == len(optimizers) and all("param_groups" in of_one for of_one in states):
        saved["optimizer"] = take_out(states, optimizers, _learnable(module))
    checkpoint[KEY] = saved


def load_loss(module: Any, checkpoint: dict[str, Any], loss: nn.Module | None) -> None:
    """Load the loss's parameters where they fit the present loss, and leave them out with a word where they do not.

    Args:
        module: the host.
        checkpoint: being loaded.
        loss: of the host; ``None`` where the mixin is not configured.
    """
    if loss is not None and _may_train(module, loss):
        module.__dict__["_relevance_checkpoint"] = checkpoint  # for the optimizers, which are restored later
        if getattr(trainer_of(module), "optimizers", None):  # or are there: a Tuner restores amid a fit
            adapt_optimizers(module)
    saved = checkpoint.get(KEY)
    if saved is None:
        return
    if loss is not None and _shapes(loss.state_dict()) == _shapes(saved["state"]):
        loss.load_state_dict(saved["state"])
    elif _may_train(module, loss):
        now = "there is no loss now" if loss is None else f"the loss is now {type(loss).__name__}, which starts afresh"
        rank_zero_warn(f"the checkpoint's {saved['class']} has learnt {', '.join(saved['state'])}: left out, as {now}")


def _may_train(module: Any, loss: nn.Module | None) -> bool:
    """Whether the loss would be of any use: not in validation, test and prediction, nor where nothing trains."""
    trainer = trainer_of(module)
    if trainer is not None:
        return getattr(trainer.state.fn, "value", None) == "fit"
    return loss is not None or not is_lightning_default(module.training_step)


def adapt_optimizers(module: Any) -> None:
    """Make the optimizer states of the checkpoint that is being resumed fit the present loss."""
    checkpoint = module.__dict__.pop("_relevance_checkpoint", None)
    if checkpoint is not None and "optimizer_states" in checkpoint:
        removed = checkpoint.get(KEY, {}).get("optimizer", {})
        put_back(checkpoint["optimizer_states"], module.trainer.optimizers, _learnable(module), removed)


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
    return dict(module.relevance_loss.named_parameters())


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
