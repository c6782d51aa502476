"""The mean of the weights before and after fine-tuning."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_share
from vse_lightning.mixins.host.lightning_internals import validated_again

Weights = dict[str, Tensor]
INTERPOLATED = "interpolated"
"""The folder of checkpoints of the mean; begins the names of its values in logs, and ends them in tables."""
KEY = "vse_lightning_weights_before"
"""Where a checkpoint holds what the fine-tuning has changed, as it was before."""


class WeightInterpolation(Callback):
    """Validates ``(1 - alpha) * before + alpha * after`` at the end of a fit, saves it where it is better: WiSE-FT.

    The mean keeps more of what a pretrained model knows than the fine-tuned weights, and is often better on the target
    too. ``after`` are the weights of the best checkpoint; ``before`` those that the fit started from, and survive in
    its checkpoints when it is resumed. What is measured is logged under ``val/interpolated_...`` beside the plain
    values; where the checkpoint callback's monitored value is better, the mean is saved beside the best checkpoint, in
    the folder ``interpolated``, for test, export and search. ``vse-lightning fit`` tests both at its end.

    Running means and variances (batch norm) are interpolated as weights are. Of adapters (LoRA) the change that they
    make is. What starts at random, such as a new projection, is interpolated with that, and a model that did not know
    the task before is hardly better for it.

    Args:
        alpha: share of the weights after, in [0, 1].

    Attributes:
        values: what validation logs of the mean; empty before the end of the fit.
        path: the checkpoint of the mean; None where it is not better.

    Raises:
        ValueError: ``alpha`` out of its range; when training starts, there is no ``ModelCheckpoint`` that monitors
            something in a folder of this machine, adapters do not start at zero, or weights are spread over processes;
            when it goes on, the checkpoint was written without this callback.

    References:
        Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, equation 1.
    """

    @typed
    def __init__(self, alpha: float = 0.5) -> None:
        require_share("alpha", alpha)
        self.alpha = alpha
        self.values: dict[str, float] = {}
        self.path: Path | None = None
        self._before: Weights | None = None
        self._mean: Weights = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        if stage == "fit":
            self._before, self._mean, self.values, self.path = None, {}, {}, None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the weights before from the checkpoint that training goes on from."""
        if trainer.state.fn == TrainerFn.FITTING:
            rule = "WeightInterpolation needs the weights before fine-tuning, which the checkpoint of a fit without it "
            require(KEY in checkpoint, rule + "does not hold: leave it out, or start a new fit")
            self._before = _fractional(checkpoint["state_dict"]) | checkpoint[KEY]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights, unless a checkpoint did."""
        monitor = getattr(trainer.checkpoint_callback, "monitor", None)
        rule = "WeightInterpolation needs a ModelCheckpoint(monitor=...), which says which weights are better, got {}"
        known = bool(monitor or getattr(trainer, "fast_dev_run", False))
        require(known, rule, "none" if trainer.checkpoint_callback is None else "one without monitor")
        folder = str(getattr(trainer.checkpoint_callback, "dirpath", ""))
        here = "://" not in folder
        require(here, "WeightInterpolation needs checkpoints in a folder of this machine, got {}", folder)
        if self._before is None:
            self._before = _fractional(pl_module.state_dict())
        _check_adapters(self._before)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write down the weights before where they are not those of the checkpoint itself."""
        if self._before is not None:
            now, before = checkpoint["state_dict"], self._before.items()
            checkpoint[KEY] = {name: weight for name, weight in before if not torch.equal(weight, now[name].cpu())}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the mean, log it, and save it where it is better."""
        callback: Any = trainer.checkpoint_callback
        if callback is None or self._before is None:  # fast_dev_run
            return
        best = Path(callback.best_model_path) if callback.best_model_path else None
        after = pl_module.state_dict()
        if best is not None:  # what a host leaves out of its checkpoints is frozen
            after |= torch.load(best, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
        self._mean = interpolated(self._before, after, self.alpha)
        with self.applied(pl_module):
            self.values = validated_again(trainer)
            self.log_values(trainer, self.values)
            if best is not None and self._is_better(callback):
                self.path = best.parent / INTERPOLATED / best.name
                trainer.save_checkpoint(self.path, weights_only=True)

    @contextmanager
    def applied(self, module: LightningModule) -> Iterator[None]:
        """Let the module have the weights of the mean, after a fit, and its own again at the end."""
        own = {name: weight.clone() for name, weight in _tensors(module.state_dict()).items() if name in self._mean}
        _assign(module, self._mean)
        try:
            yield
        finally:
            _assign(module, own)

    def log_values(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        """Log values of the mean, ``val/rsum`` as ``val/interpolated_rsum``."""
        for logger in trainer.loggers:
            logger.log_metrics({_named(name): value for name, value in values.items()}, step=trainer.global_step)
            logger.save()

    def _is_better(self, callback: Any) -> bool:
        value, plain = self.values.get(callback.monitor), callback.best_model_score
        if value is None or plain is None:
            rank_zero_warn(
                f"the interpolated weights are not saved: their validation logs no {callback.monitor}, so that nothing "
                "says whether they are better"
            )
            return False
        better = value > float(plain) if callback.mode == "max" else value < float(plain)
        told = f"{callback.monitor}: {value:.6g} with interpolated weights, {float(plain):.6g} with plain ones"
        rank_zero_info(f"{told}: {'saved' if better else 'not saved'}")
        return better


def interpolated(before: Mapping[str, Tensor], after: Mapping[str, Any], alpha: float) -> Weights:
    """``(1 - alpha) * before + alpha * after`` of weights of the same names, in their own precision.

    An adapter adds the product of two matrices; the second starts at zero and is interpolated, the first is that of
    ``after``: so the product is ``alpha`` times what it was.
    """
    mean = {}
    for name, old in before.items():
        new = after[name].detach().cpu()
        mean[name] = new.clone() if ".lora_A." in name else _lerp(old, new, alpha)
    return mean


def _lerp(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    precise = torch.promote_types(old.dtype, torch.float64)  # complex weights stay complex
    return torch.lerp(old.to(precise), new.to(precise), alpha).to(old)


def _check_adapters(before: Weights) -> None:
    for name, weight in before.items():
        if "lora_" in name and ".lora_A." not in name:
            zero = ".lora_B." in name and not weight.count_nonzero()
            require(zero, "WeightInterpolation needs adapters that change nothing at first and are sums, got {}", name)


def _tensors(state: Mapping[str, Any]) -> Weights:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _fractional(state: Mapping[str, Any]) -> Weights:
    tensors = _tensors(state).items()
    floating = {name: weight for name, weight in tensors if weight.is_floating_point() or weight.is_complex()}
    spread = next((name for name, weight in floating.items() if type(weight).__name__ == "DTensor"), None)
    require(spread is None, "WeightInterpolation needs whole weights in each process, got a part of {}", spread)
    return {name: weight.detach().cpu().clone() for name, weight in floating.items()}


@torch.no_grad()
def _assign(module: LightningModule, weights: Weights) -> None:
    state = module.state_dict()
    for name, weight in weights.items():
        state[name].copy_(weight)


def _named(name: str) -> str:
    stage, slash, metric = name.partition("/")
    return f"{stage}/{INTERPOLATED}_{metric}" if slash else f"{INTERPOLATED}_{name}"
