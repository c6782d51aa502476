"""The state of a retrieval metric: what one update adds to it and how processes share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.ranking.gallery import STATES
from vse_lightning.targets import DISTRACTOR, Ids, RetrievalTargets

_VECTORS = ("image_embeds", "text_embeds", "text_features")


def checked_batch(
    image_embeds: Tensor,
    text_embeds: Tensor,
    image_ids: Ids | None,
    text_image_ids: Ids | None,
    text_features: Tensor | None = None,
    text_ids: Ids | None = None,
) -> dict[str, Tensor]:
    """What a batch adds to each list of a state, in the order of the lists.

    Embeddings and features are detached, half precision is promoted to float32, and all goes where the images are.

    Raises:
        ValueError: if shapes, lengths or types are wrong, an embedding is not finite, or an image has the id -1.
    """
    images, texts = _vectors("image_embeds", image_embeds), _vectors("text_embeds", text_embeds)
    message = "image_ids and text_image_ids must be given, got None: batches cannot number their pairs by themselves"
    require(image_ids is not None or text_image_ids is not None, message)
    targets = RetrievalTargets(image_ids, text_image_ids, text_ids=text_ids, text_features=text_features)
    targets = targets.resolve(images, texts)
    image_ids, text_image_ids = targets.known_ids()
    message = "image_ids must not hold {0}: as the image of a text it means that the text describes none"
    require(not bool((image_ids == DISTRACTOR).any()), message, DISTRACTOR)
    features = None if targets.text_features is None else _vectors("text_features", targets.text_features)
    batch = {
        "image_embeds": images,
        "text_embeds": texts.to(images.device),
        "image_ids": image_ids,
        "text_image_ids": text_image_ids,
        "text_features": features,
        "text_ids": targets.text_ids,
    }
    return {name: rows for name, rows in batch.items() if rows is not None}


def check_against(state: Mapping[str, Sequence[Tensor]], added: Mapping[str, Tensor]) -> None:
    """Compare what is ``added`` with what earlier updates left in a ``state``.

    Raises:
        ValueError: if only some updates bring an optional part, or vectors change their width.
    """
    for name in STATES:
        earlier, new = state[name], added.get(name)
        if new is None:
            require(not earlier, "{} must be given in every update or in none: earlier ones had it", name)
        elif not earlier:
            first = not state["text_embeds"]
            require(first, "{} must be given in every update or in none: earlier ones had none", name)
        elif new.ndim == 2:
            same = new.shape[1] == earlier[0].shape[1]
            require(same, "{} must keep its width {}, got {}", name, earlier[0].shape[1], new.shape[1])


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


def _vectors(name: str, value: Any) -> Tensor:
    require(isinstance(value, Tensor), "{} must be a tensor, got {}", name, type(value).__name__)
    tensor: Tensor = value.detach()
    floating = tensor.ndim == 2 and tensor.is_floating_point()
    require(floating, "{} must be floating point (rows, width), got {} {}", name, tensor.dtype, tuple(tensor.shape))
    finite = tensor.isfinite()
    if not finite.all():
        broken = int((~finite).any(dim=1).sum())
        raise ValueError(f"{name} must be finite, but {broken} of {len(tensor)} rows hold NaN or infinity")
    return tensor if tensor.dtype == torch.float64 else tensor.float()
