"""A metric that keeps embeddings and ids, and joins those of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from vse_lightning.metrics.state import STATES, gather_states


class StateMetric(Metric):
    """Base of all metrics here: the lists of :mod:`vse_lightning.metrics.state`, safe where a process saw nothing.

    Args:
        kwargs: of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    image_embeds: list[Tensor]
    text_embeds: list[Tensor]
    image_ids: list[Tensor]
    text_image_ids: list[Tensor]
    text_features: list[Tensor]
    text_ids: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def lists(self) -> dict[str, list[Tensor]]:
        """The state by name."""
        return {state: getattr(self, state) for state in STATES}

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        def all_gather(tensor: Tensor) -> list[Tensor]:
            gathered: list[Tensor] = dist_sync_fn(tensor, group=process_group or self.process_group)
            return gathered

        for name, tensors in gather_states(self.lists(), all_gather, self.device).items():
            setattr(self, name, tensors)
