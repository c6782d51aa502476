"""Embedding a batch that does not fit: in chunks, whose activations are computed again for the backward pass."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vse_lightning.checks import require

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def embed_in_chunks(
    embed: Callable[[Any], tuple[Tensor, Tensor]], module: nn.Module, batch: Any, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """What ``embed(batch)`` returns, with the activations of one chunk of pairs in memory at a time.

    The embeddings of all chunks stay, so that a contrastive loss sees the whole batch; its gradients are the same. A
    batch is dicts, tuples and lists of tensors with one row per pair, nested as you like. A module in which batch
    normalisation is training is refused: its statistics would be those of a chunk.

    References:
        Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021
        (GradCache), here by activation checkpointing, which automatic optimisation allows.
    """
    for name, layer in module.named_modules():
        frozen = not isinstance(layer, BATCH_NORMS) or not layer.training
        require(frozen, "relevance_chunk_size: batch normalisation {!r} would see chunks, not the batch: put it in "
                "eval mode, use another normalisation, or leave relevance_chunk_size=None", name)  # fmt: skip
    size = _pairs(batch)
    images, texts = [], []
    for start in range(0, size, chunk_size):
        chunk = _rows(batch, slice(start, start + chunk_size), size)
        image_embeds, text_embeds = checkpoint(embed, chunk, use_reentrant=False)
        images.append(image_embeds)
        texts.append(text_embeds)
    embeds = torch.cat(images), torch.cat(texts)
    pairs = len(embeds[0]) == size and len(embeds[1]) == size
    require(pairs, "relevance_chunk_size needs a batch of {} pairs, got {} image and {} text embeddings", size,
            len(embeds[0]), len(embeds[1]))  # fmt: skip
    return embeds


def _pairs(batch: Any) -> int:
    """Number of rows of the first tensor or list of strings found in a batch."""
    if isinstance(batch, Tensor):
        return len(batch)
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    return len(parts) if isinstance(parts[0], str) else _pairs(parts[0])


def _rows(batch: Any, rows: slice, size: int) -> Any:
    """The same rows of every part of a batch that has one per pair."""
    if isinstance(batch, Mapping):
        return {name: _rows(part, rows, size) for name, part in batch.items()}
    if isinstance(batch, Tensor):
        return batch[rows] if batch.ndim > 0 and len(batch) == size else batch
    if isinstance(batch, list | tuple):
        if len(batch) == size and isinstance(batch[0], str):
            return batch[rows]
        return type(batch)(_rows(part, rows, size) for part in batch)
    return batch
