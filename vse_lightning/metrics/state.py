"""The state of a retrieval metric: what one update adds to it and how processes share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

STATES = ("image_embeds", "text_embeds", "image_ids", "text_image_ids", "text_features", "text_ids")
_VECTORS = ("image_embeds", "text_embeds", "text_features")


def checked_batch(batch: Mapping[str, Tensor | None], state: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return what a ``batch`` adds to each list of the ``state``.

    Embeddings and features are detached, half precision is promoted to float32, and all goes where the images are.

    Raises:
        ValueError: if shapes, lengths, types or earlier updates disagree, or an embedding is not finite.
    """
    added = {}
    device = _tensor("image_embeds", batch["image_embeds"]).device
    for name in STATES:
        if batch[name] is None and name in ("text_features", "text_ids"):
            continue
        tensor = _tensor(name, batch[name])
        added[name] = (_vectors(name, tensor) if name in _VECTORS else _ids(name, tensor)).to(device)
    for name, rows in added.items():
        embeds = "image_embeds" if name in ("image_embeds", "image_ids") else "text_embeds"
        if len(rows) != len(added[embeds]):
            raise ValueError(f"{name} must have one row for each of {embeds}, got {len(rows)} and {len(added[embeds])}")
    for name in STATES:
        _check_against(name, added.get(name), state)
    return added


def gather_states(
    state: Mapping[str, Sequence[Tensor]], all_gather: Callable[[Tensor], list[Tensor]], device: torch.device
) -> dict[str, list[Tensor]]:
    """Join the states of all processes, in the order of their ranks.

    Processes first tell each other what they hold, so that one that saw less, or nothing, sends tensors that fit.

    Args:
        state: of this process.
        all_gather: sends a tensor and returns that of every process; their lengths may differ.
        device: where the communication happens.

    Raises:
        ValueError: on every process, if they hold vectors of different width.
    """
    local = {name: torch.cat(list(state[name])) if state[name] else None for name in STATES}
    held = torch.tensor([_describe(tensor) for tensor in local.values()], dtype=torch.int64, device=device)
    everywhere = torch.stack(all_gather(held))
    joined: dict[str, list[Tensor]] = {}
    for name, of_state in zip(STATES, everywhere.unbind(dim=1), strict=True):
        holders = of_state[of_state[:, 0] > 0]
        if len(holders) == 0:
            joined[name] = []
            continue
        widths = torch.unique(holders[:, 1]).tolist()
        if len(widths) > 1:
            raise ValueError(f"{name} must have the same width on all processes, got {widths}")
        dtype = torch.int64
        if name in _VECTORS:
            dtype = torch.float64 if holders[:, 2].any() else torch.float32
        shape = (0, widths[0]) if name in _VECTORS else (0,)
        mine = local[name]
        sent = torch.empty(shape, dtype=dtype, device=device) if mine is None else mine.to(device, dtype)
        joined[name] = [torch.cat(all_gather(sent))]
    return joined


def _describe(tensor: Tensor | None) -> tuple[int, int, int]:
    """Rows, width and whether it is double."""
    if tensor is None:
        return 0, 0, 0
    return len(tensor), tensor.shape[1] if tensor.ndim == 2 else 0, int(tensor.dtype == torch.float64)


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    return value.detach()


def _vectors(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim != 2 or not tensor.is_floating_point():
        raise ValueError(f"{name} must be floating point (rows, width), got {tensor.dtype} {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        broken = int((~tensor.isfinite()).any(dim=1).sum())
        raise ValueError(f"{name} must be finite, but {broken} of {len(tensor)} rows hold NaN or infinity")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _ids(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must be integers (rows,), got {tensor.dtype} {tuple(tensor.shape)}")
    return tensor.long()


def _check_against(name: str, added: Tensor | None, state: Mapping[str, Sequence[Tensor]]) -> None:
    """Compare what is added with what earlier updates left."""
    earlier = state[name]
    if added is None:
        if earlier:
            raise ValueError(f"{name} must be given in every update or in none: earlier ones had it")
    elif not earlier and state["text_embeds"]:
        raise ValueError(f"{name} must be given in every update or in none: earlier ones had none")
    elif earlier and added.ndim == 2 and added.shape[1] != earlier[0].shape[1]:
        raise ValueError(f"{name} must keep its width {earlier[0].shape[1]}, got {added.shape[1]}")
