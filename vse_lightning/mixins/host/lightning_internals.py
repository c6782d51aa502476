"""What Lightning knows and shows nobody: all that this package uses of it beyond its documented interface.

Hosts may be of ``lightning`` or of ``pytorch_lightning``, or be run by no Trainer at all.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng


def trainer_of(module: Any) -> Any:
    """The Trainer that a module is attached to, or None; ``module.trainer`` raises where there is none."""
    return getattr(module, "_trainer", None)


def running_hook(module: Any) -> str | None:
    """The step or hook of the module that the Trainer has entered."""
    return getattr(module, "_current_fx_name", None)


def as_compiled(module: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method compiled as the user had the whole module compiled, if so."""
    context = getattr(module, "_compiler_ctx", None)
    return method if context is None else context["dynamo_ctx"](method)


def loader_of_loop(loop: Any) -> Any:
    """The ``CombinedLoader`` of a loop: ``flattened`` are its dataloaders."""
    return loop._combined_loader


def way_of_combining(combined: Any) -> str:
    """How a ``CombinedLoader`` goes through its dataloaders: ``"sequential"``, ``"min_size"``, ..."""
    return str(combined._mode)


def counts_of_validation(trainer: Any) -> list[float]:
    """How many batches this process has of each dataloader of the validation of a fit that has not begun yet."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    before = trainer.state.stage
    trainer.validating = True  # as Lightning does before training
    loop.setup_data()
    trainer.state.stage = before
    return list(loop.max_batches)


def is_logged_in_training(trainer: Any, name: str) -> bool:
    """Whether the training step of the running epoch has logged something under the name."""
    return f"training_step.{name}" in (trainer._results or {})


@contextmanager
def unseen(trainer: Any) -> Iterator[None]:
    """Evaluate without loggers and callbacks."""
    callbacks, trainer.callbacks = trainer.callbacks, []
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers


def validated_again(trainer: Any) -> dict[str, float]:
    """Validate amid a fit, at the start or at the end of its training, unseen by loggers and by other callbacks.

    Returns:
        What the module logged, by name.
    """
    kept = [trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics]
    before = [dict(metrics) for metrics in kept]
    trainer.callback_metrics.clear()
    try:
        with unseen(trainer), isolate_rng():
            trainer.validating = True  # as Lightning does where an epoch ends
            trainer.fit_loop.epoch_loop.val_loop.run()
            return {name: float(value) for name, value in trainer.callback_metrics.items()}
    finally:
        trainer.training = True
        for metrics, values in zip(kept, before, strict=True):
            metrics.clear()
            metrics.update(values)


def is_built_by_cli(cls: type) -> bool:
    """Whether LightningCLI is making a module of the class and has given its hyper-parameters."""
    for base in cls.__mro__:
        if base.__name__ == "HyperparametersMixin":
            given = getattr(sys.modules[base.__module__], "_given_hyperparameters", None)
            return given is not None and given.get() is not None
    return False
