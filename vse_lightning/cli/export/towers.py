"""The two halves of a retriever as modules of tensors, with real inputs to trace and check them by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vse_lightning.checks import require
from vse_lightning.data import ShapesSource
from vse_lightning.models import CLIPRetriever, DualEncoder
from vse_lightning.models.preprocessing.captions import WordNumberer
from vse_lightning.models.retriever import Retriever

Inputs = dict[str, Tensor]

BATCHES = ((3, 6), (1, 1), (5, 14))
"""Rows and longest captions, in words, of the batches: the first traces, all check."""
REGIONS = (36, 1, 20)


@dataclass(frozen=True)
class Tower:
    """What turns pictures, features or captions into embeddings.

    Attributes:
        name: ``"image"`` or ``"text"``.
        module: takes the tensors of an input by name.
        batches: inputs of several sizes.
        embeds: what the retriever makes of them.
        transform: what made them.
    """

    name: Literal["image", "text"]
    module: nn.Module
    batches: list[Inputs]
    embeds: list[Tensor]
    transform: Any

    def dynamic_dimensions(self) -> dict[str, dict[int, str]]:
        """Names of the dimensions that batches differ in, by input and dimension."""
        return {
            name: {
                dimension: "batch" if dimension == 0 else _name_of_length(name, self.transform)
                for dimension, size in enumerate(tensor.shape)
                if any(batch[name].shape[dimension] != size for batch in self.batches)
            }
            for name, tensor in self.batches[0].items()
        }

    def describe(self) -> dict[str, Any]:
        """Inputs and width as plain values."""
        dynamic = self.dynamic_dimensions()
        inputs = [
            {
                "name": name,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": [dynamic[name].get(dimension, size) for dimension, size in enumerate(tensor.shape)],
            }
            for name, tensor in self.batches[0].items()
        ]
        return {"inputs": inputs, "output": "embeds", "embed_dim": self.embeds[0].shape[1]}


def towers_of(retriever: Retriever, regions: bool = False) -> Iterator[Tower]:
    """The image tower, then the text tower; use each before asking for the next.

    Args:
        retriever: in evaluation mode.
        regions: whether features are ``(N, R, F)`` and not ``(N, F)``.

    Raises:
        ValueError: if the inputs are not known, or of a form that cannot be exported.
    """
    transform = retriever.image_transform(train=False)
    with _tower_alone(retriever, "image") as (module, encode):
        pictures = _features(module, regions) if transform is None else _pictures(transform, regions)
        yield _tower("image", ImageModule(module, encode), pictures, retriever.encode_images, transform)
    text_transform = retriever.text_transform()
    with _tower_alone(retriever, "text") as (module, encode):
        texts = [text_transform(captions) for captions in _captions(text_transform)]
        named = [dict(text) if isinstance(text, Mapping) else {"text": text} for text in texts]
        kind = _MODULES.get(tuple(sorted(named[0])))
        if kind is None or not all(isinstance(tensor, Tensor) for tensor in named[0].values()):
            raise ValueError(
                "text_transform() must make a tensor, or a dict of input_ids with or without attention_mask, for its "
                f"encoder to be exported, got {', '.join(named[0])}"
            )
        yield _tower("text", kind(module, encode), named, retriever.encode_texts, text_transform)


class _Module(nn.Module):
    def __init__(self, encoder: nn.Module, encode: str) -> None:
        super().__init__()
        self.encoder, self._encode = encoder, encode

    def encode(self, inputs: Any) -> Tensor:
        embeds: Tensor = getattr(self.encoder, self._encode)(inputs)
        return embeds


class ImageModule(_Module):
    """Takes pictures or features."""

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings ``(N, D)``, not normalised."""
        return self.encode(image)


class WordModule(_Module):
    """Takes word numbers."""

    def forward(self, text: Tensor) -> Tensor:
        """Embeddings ``(M, D)``, not normalised."""
        return self.encode(text)


class TokenModule(_Module):
    """Takes the tokens of a Hugging Face model."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Embeddings ``(M, D)``, not normalised."""
        mask = {} if attention_mask is None else {"attention_mask": attention_mask}
        return self.encode({"input_ids": input_ids, **mask})


_MODULES: dict[tuple[str, ...], type[_Module]] = {
    ("text",): WordModule,
    ("input_ids",): TokenModule,
    ("attention_mask", "input_ids"): TokenModule,
}


@contextmanager
def _tower_alone(retriever: Retriever, tower: Literal["image", "text"]) -> Iterator[tuple[nn.Module, str]]:
    """The module that holds a tower and the name of its method; the other tower's weights would be exported too."""
    if isinstance(retriever, DualEncoder):
        yield (retriever.image_encoder if tower == "image" else retriever.text_encoder), "__call__"
    elif isinstance(retriever, CLIPRetriever):
        model = retriever.backbone.model
        other = "text_model" if tower == "image" else "vision_model"
        removed = getattr(model, other)
        setattr(model, other, nn.Identity())
        try:
            yield retriever.backbone, f"encode_{tower}s"
        finally:
            setattr(model, other, removed)
    else:
        yield retriever, f"encode_{tower}s"


def _tower(
    name: Literal["image", "text"],
    module: nn.Module,
    batches: list[Inputs],
    encode: Callable[[Any], Tensor],
    transform: Any,
) -> Tower:
    whole = [next(iter(batch.values())) if set(batch) <= {"image", "text"} else batch for batch in batches]
    with torch.inference_mode():
        embeds = [encode(batch) for batch in whole]
    return Tower(name, module.eval(), batches, embeds, transform)


def _pictures(transform: Callable[[Any], Tensor], regions: bool) -> list[Inputs]:
    require(not regions, "--regions is for encoders of precomputed features, and this one takes pictures")
    rows = max(rows for rows, _ in BATCHES)
    source = ShapesSource(num_images=10, image_size=256)
    pictures = torch.stack([transform(source.load_image(image_id)) for image_id in range(rows)])
    return [{"image": pictures[:rows].clone()} for rows, _ in BATCHES]


def _features(encoder: nn.Module, regions: bool) -> list[Inputs]:
    width = getattr(encoder, "input_dim", None)
    if not isinstance(width, int):
        raise ValueError(
            f"{type(encoder).__name__} must have a transform for pictures, or input_dim, the width of its features: "
            "without either its inputs are not known"
        )
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (rows, count, width) if regions else (rows, width) for (rows, _), count in zip(BATCHES, REGIONS, strict=True)
    ]
    return [{"image": torch.rand(shape, generator=generator)} for shape in shapes]


def _captions(transform: Any) -> list[list[str]]:
    """Captions of words that the model knows; the first of a batch is the longest."""
    if isinstance(transform, WordNumberer):
        words = list(transform.numbers)
    else:
        words = " ".join(ShapesSource(num_images=10).captions).split()
    text = [words[place % len(words)] for place in range(sum(rows * longest for rows, longest in BATCHES))]
    batches, start = [], 0
    for rows, longest in BATCHES:
        batch = []
        for row in range(rows):
            length = max(1, longest - row)
            batch.append(" ".join(text[start : start + length]))
            start += length
        batches.append(batch)
    return batches


def _name_of_length(name: str, transform: Any) -> str:
    if name == "image":
        return "regions"
    return "words" if isinstance(transform, WordNumberer) else "tokens"
