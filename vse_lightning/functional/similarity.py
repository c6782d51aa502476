"""Similarity of embeddings, and of a caption with the captions of an image."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vse_lightning.checks import require

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Makes scores ``(N, M)`` of embeddings ``(N, D)`` and ``(M, D)``, higher is closer."""

_SHORT, _LONG = 1e-6, 1e15
"""Largest entries beyond which :func:`unit_length` scales: normalisation takes lengths below 1e-12 for zero."""


def cosine_similarity(image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
    """Cosine of every image with every text.

    Args:
        image_embeds: ``(N, D)``, of any length; a zero row has similarity 0 with everything.
        text_embeds: ``(M, D)``.

    Returns:
        Scores ``(N, M)`` in [-1, 1].

    Raises:
        ValueError: if the widths differ.

    Example:
        >>> import torch
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
        tensor([[ 0.6000, -0.8000]])
    """
    for name, embeds in {"image_embeds": image_embeds, "text_embeds": text_embeds}.items():
        require(isinstance(embeds, Tensor), "{} must be a tensor (rows, width), got {}", name, type(embeds).__name__)
    widths = image_embeds.shape[-1], text_embeds.shape[-1]
    message = "image_embeds and text_embeds must have one width for the cosine, got {} and {}"
    require(widths[0] == widths[1], message, *widths)
    return unit_length(image_embeds) @ unit_length(text_embeds).T


def unit_length(vectors: Tensor) -> Tensor:
    """The vectors ``(N, D)`` at length 1; a zero row stays zero.

    Ordinary vectors are divided by their length and nothing else; the squares of very short and very long ones, which
    no float holds, are taken after a division by the largest entry.
    """
    if vectors.shape[-1] == 0:
        return vectors
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    extreme = (largest > 0) & ((largest < _SHORT) | (largest > _LONG))
    return normalize(vectors / largest.where(extreme, 1), dim=-1)


def caption_relevance(
    caption_features: Tensor, captions_of_image: Tensor, text_features: Tensor, rescale: str = "clip"
) -> Tensor:
    """Relevance of images to texts: the best similarity between the text and one of the image's captions.

    The features are multiplied as they are: normalise them first for cosines. Only one ``(N, M)`` product per caption
    slot is held at a time, never the ``(R, M)`` similarities of all captions.

    Args:
        caption_features: ``(R, F)``, one row per reference caption.
        captions_of_image: ``(N, K)`` int64 rows of ``caption_features``; an image with fewer than ``K`` captions
            repeats one of them.
        text_features: ``(M, F)``.
        rescale: ``"clip"``: max(similarity, 0); ``"shift"``: (1 + similarity) / 2 as Listwise_ITR does.

    Returns:
        Relevance ``(N, M)`` in [0, 1], in the dtype of the features.

    References:
        Li et al., "Integrating Listwise Ranking into Pairwise-based Image-Text Retrieval", 2023 (the maximum over the
        image's captions).

    Example:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> caption_relevance(features, torch.tensor([[0, 1], [2, 2]]), features)
        tensor([[1.0000, 1.0000, 0.8000],
                [0.0000, 0.8000, 1.0000]])
    """
    best = caption_features[captions_of_image[:, 0]] @ text_features.T
    for slot in captions_of_image.T[1:]:
        torch.maximum(best, caption_features[slot] @ text_features.T, out=best)
    return rescale_similarity(best, rescale)


def rescale_similarity(similarity: Tensor, rescale: str) -> Tensor:
    """Map a cosine in [-1, 1] to a relevance in [0, 1], as :func:`caption_relevance` describes."""
    if rescale == "clip":
        return similarity.clamp(0, 1)
    if rescale == "shift":
        return ((1 + similarity) / 2).clamp(0, 1)
    raise ValueError(f"rescale must be 'clip' or 'shift', got {rescale!r}")
