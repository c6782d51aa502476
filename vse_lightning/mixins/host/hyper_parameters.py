"""What the mixins keep out of a host's hyper-parameters: tables, losses and metrics are no values to save or log."""

import inspect
from argparse import Namespace
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import nn
from torchmetrics import MetricCollection

from vse_lightning.losses.retrieval_loss import RetrievalLoss
from vse_lightning.metrics._state_metric import StateMetric
from vse_lightning.targets import LabelTable, RetrievalTargets

_OURS = (RetrievalLoss, StateMetric, RetrievalTargets)


def names_to_ignore(module: Any, frame: FrameType) -> list[str]:
    """Arguments of the constructors that are running for the module, above a frame, and hold something of ours.

    Lightning collects the arguments of every constructor on the stack, those of subclasses and of the mixins too.
    """
    return [name for name, value in _arguments(module, frame) if holds_ours(value)]


def _arguments(module: Any, frame: FrameType | None) -> Iterator[tuple[str, Any]]:
    while frame is not None:
        if frame.f_code.co_name == "__init__" and any(value is module for value in list(frame.f_locals.values())[:1]):
            for name, value in frame.f_locals.items():
                yield name, value
                if isinstance(value, dict):  # **kwargs, whose items Lightning saves by their own names
                    yield from ((str(key), item) for key, item in value.items())
        frame = frame.f_back


def holds_ours(value: Any) -> bool:
    """Whether a value is a label table, or a loss or a metric of this package, or a container of some."""
    if isinstance(value, Namespace):
        return holds_ours(vars(value))
    if isinstance(value, dict | MetricCollection):
        return any(map(holds_ours, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(holds_ours, list(value)[:100]))
    is_table = isinstance(value, LabelTable) and not isinstance(value, nn.Module)  # a network may have a block too
    return not inspect.isclass(value) and (is_table or isinstance(value, _OURS))


def without_ours(argument: Any) -> Any:
    """A dictionary or namespace of hyper-parameters without what is ours; anything else as it is."""
    if not isinstance(argument, dict | Namespace) or not holds_ours(argument):
        return argument
    values = vars(argument) if isinstance(argument, Namespace) else argument
    return type(argument)(**{name: value for name, value in values.items() if not holds_ours(value)})
