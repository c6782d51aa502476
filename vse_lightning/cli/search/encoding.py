"""Embeddings of pictures and texts from a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from vse_lightning.checks import require
from vse_lightning.models.retriever import Retriever

SHOW_AFTER = 3  # seconds, of a progress bar


def prepare(image: Any, transform: Callable[[Any], Tensor] | None) -> Tensor:
    """What the model takes for a picture or for features.

    Raises:
        ValueError: the model takes no pictures.
    """
    if isinstance(image, Tensor) and transform is None:
        return image
    message = "pictures need a model of pictures, but the image encoder of this one takes features: ask it with --text"
    require(transform is not None, message)
    return transform(image)  # type: ignore[misc]


def encode(encoder: Callable[[Any], Tensor], prepared: Any, device: torch.device) -> Tensor:
    """Embeddings of a batch, float32 on the CPU.

    Raises:
        ValueError: one is not finite.
    """
    with torch.inference_mode():
        embeds = encoder(move_data_to_device(prepared, device)).float().cpu()
    require(bool(embeds.isfinite().all()), "the model must give finite embeddings, got NaN or infinity")
    return embeds


def embed_texts(model: Retriever, texts: Sequence[str], batch_size: int) -> Tensor:
    """Embeddings ``(M, D)`` of at least one text.

    Raises:
        ValueError: one is not finite.
    """
    transform = model.text_transform()
    embeds = []
    with tqdm(total=len(texts), desc="Captions", unit="caption", delay=SHOW_AFTER, leave=False) as bar:
        for start in range(0, len(texts), batch_size):
            some = list(texts[start : start + batch_size])
            embeds.append(encode(model.encode_texts, transform(some), model.device))
            bar.update(len(some))
    return torch.cat(embeds)
