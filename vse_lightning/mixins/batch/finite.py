"""NaN in training, noticed with the ids of the batch, and without a wait for the GPU at every step."""

from typing import Any

import torch
from torch import Tensor

_STEPS_AT_ONCE = 50


class FiniteLosses:
    """Looks at the losses of a training: at once on the CPU, of many steps together on a GPU."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Any]] = []

    def add(self, loss: Tensor, image_ids: Tensor | None) -> None:
        """Take the loss of a batch.

        Raises:
            RuntimeError: it, or one of the last that were not looked at yet, is no finite number.
        """
        self._waiting.append((loss.detach(), image_ids))
        if loss.device.type == "cpu" or len(self._waiting) == _STEPS_AT_ONCE:
            self.check()

    def check(self) -> None:
        """Look at the losses that wait.

        Raises:
            RuntimeError: one is no finite number.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting or bool((finite := torch.stack([loss for loss, _ in waiting]).isfinite()).all()):
            return
        first = int(finite.logical_not().nonzero()[0])
        loss, ids = waiting[first]
        known = "without ids" if ids is None else f"of image_ids {', '.join(map(str, ids[:8].tolist()))}"
        known += ", ..." if ids is not None and len(ids) > 8 else ""
        later = f", {len(waiting) - 1 - first} steps ago" if first < len(waiting) - 1 else ""
        raise RuntimeError(
            f"the relevance loss is {loss.item()} for the batch {known}{later}: its embeddings hold NaN or infinity, "
            "or are too large. Look for it in the data of that batch, or lower the learning rate"
        )
