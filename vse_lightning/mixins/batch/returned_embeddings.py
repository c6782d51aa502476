"""Embeddings in what hosts return: found in many shapes, and checked."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

EmbeddingPair = tuple[Tensor, Tensor]
FIELDS = ("image_embeds", "text_embeds")
_AGAIN = ", which may call what was captured: in the host's step it does not run again"


def captured_embeddings(outputs: Mapping[str, Any]) -> EmbeddingPair:
    """The embeddings in what was captured, by name."""
    if len(outputs) == 1:
        ((name, output),) = outputs.items()
        return checked_embeddings(output, name, captured=True)
    embeds = [_one_output(output, field, name) for field, (name, output) in zip(FIELDS, outputs.items(), strict=True)]
    return checked_embeddings(tuple(embeds), " and ".join(outputs), captured=True)


def _one_output(output: Any, field: str, name: str) -> Any:
    """The embeddings that one encoder returned: a tensor, or a field of what Hugging Face models return."""
    if isinstance(output, Tensor):
        return output
    for known in (field, "pooler_output"):
        value = _field(output, known)
        if isinstance(value, Tensor):
            return value
    raise TypeError(
        f"{name} must return {field} as a tensor, got {_shown(output)}: name what returns it, or return both from "
        f"retrieval_embeds(batch){_AGAIN}"
    )


def checked_embeddings(returned: Any, source: str, *, captured: bool = False) -> EmbeddingPair:
    """Two matrices from a pair, or from a mapping or object that has both fields.

    Of anything else, a ``TypeError`` says what ``source`` returned and what to return.
    """
    again = _AGAIN if captured else ""
    pair = embeddings_in(returned)
    if pair is None and isinstance(returned, tuple | list) and len(returned) == 2:
        pair = (returned[0], returned[1])
    if pair is None:
        raise TypeError(
            f"{source} must return (image_embeds (N, D), text_embeds (M, D)), or have these two fields, got "
            f"{_shown(returned)}: return these two from retrieval_embeds(batch){again}"
        )
    for field, embeds in zip(FIELDS, pair, strict=True):
        if not _is_matrix(embeds):
            raise TypeError(
                f"{source}: {field} must be a floating point matrix, one row for each, got {_shown(embeds)}: return "
                f"one vector for each from retrieval_embeds(batch){again}"
            )
    if _is_transposed(*pair):
        raise TypeError(
            f"{source}: image_embeds and text_embeds are the same matrix, once transposed, as scores are: name what "
            f"returns the embeddings, or return them from retrieval_embeds(batch){again}"
        )
    dtype: torch.dtype = torch.promote_types(pair[0].dtype, pair[1].dtype)
    return pair[0].to(dtype), pair[1].to(dtype)


def _is_transposed(one: Tensor, other: Tensor) -> bool:
    """Whether they are scores of images with texts and of texts with images, which many a ``forward`` returns."""
    if one.shape != other.T.shape or torch.equal(one, other := other.to(one.dtype)):
        return False
    return torch.allclose(one, other.T, rtol=1e-3)


def matrices_in(output: Any) -> bool:
    """Whether a mapping or object has both fields, and they can be embeddings."""
    pair = embeddings_in(output)
    return pair is not None and all(map(_is_matrix, pair))


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()


def embeddings_in(output: Any) -> EmbeddingPair | None:
    """The two fields of a mapping or object, if it has both."""
    if isinstance(output, Tensor | tuple | list) and not hasattr(output, FIELDS[0]):
        return None
    image_embeds, text_embeds = (_field(output, name) for name in FIELDS)
    return None if image_embeds is None or text_embeds is None else (image_embeds, text_embeds)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _shown(value: Any) -> str:
    """What a value is, short enough for a message."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, list(value)[:8])) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}: {'; '.join(_shown(part) for part in value[:4])}"
    return "None" if value is None else type(value).__name__
