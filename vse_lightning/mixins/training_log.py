"""What a training step logs of the relevance loss, beside whatever the host logs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from vse_lightning.distributed import process_count

# where a host that optimises by hand may ask for its loss
_HOOKS = ("training_step", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


def log_training(module: Any, loss: Tensor, terms: Mapping[str, Tensor], *, pairs: int, total: bool) -> None:
    """Log ``train/relevance_loss`` and ``train/{term}``, in a training step of a Trainer and nowhere else.

    Args:
        module: the host.
        loss: what is added, weighted.
        terms: unweighted.
        pairs: images in the batch, its weight in the mean over an epoch.
        total: whether the loss is all that is trained on: it is then ``train/loss`` too.
    """
    trainer = getattr(module, "_trainer", None)
    if trainer is None or getattr(module, "_current_fx_name", None) not in _HOOKS:
        return
    values = {f"train/{name}": value.detach() for name, value in terms.items()}
    values = _beside_the_hosts(module, trainer, values) | {"train/relevance_loss": loss.detach()}
    if total:
        values["train/loss"] = loss.detach()
    module.log_dict(values, sync_dist=process_count() > 1, batch_size=pairs)


def _beside_the_hosts(module: Any, trainer: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms under names that the host does not log itself: two values under one name would be averaged."""
    names: dict[str, str] = module.__dict__.setdefault("_relevance_log_names", {})
    for name in values:
        if name not in names:
            taken = f"training_step.{name}" in (getattr(trainer, "_results", None) or {})
            names[name] = name.replace("train/", "train/relevance_") if taken else name
            if taken:
                rank_zero_warn(f"{name} is what the host logs: the relevance loss's term is logged as {names[name]}")
    return {names[name]: value for name, value in values.items()}
