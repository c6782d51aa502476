"""The split files of Karpathy and Fei-Fei: one JSON for a data set, its pictures and its splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vse_lightning.data.features import FeatureFile
from vse_lightning.data.paths import existing_path
from vse_lightning.data.pictures import PictureStore, open_pictures
from vse_lightning.data.source import ImageTextSource
from vse_lightning.data.splits import group_by_split

if TYPE_CHECKING:
    from PIL.Image import Image


class KarpathySource(ImageTextSource):
    """Flickr8k, Flickr30k, COCO and whatever else comes as a Karpathy split file.

    The file has a list ``images``, each with ``filename``, ``split``, ``sentences`` (``raw`` text or ``tokens``; any
    number of them) and possibly ``filepath``. The split ``restval`` (COCO) joins ``train``, as is usual.
    Give the pictures or features of them.

    Args:
        captions: the split file, such as ``dataset_flickr30k.json``.
        images: folder or zip file of the pictures, as ``filepath/filename`` or ``filename``.
        features: ``.npy`` file with one row for each entry of ``images`` in the split file, in its order: pooled
            features ``(images, F)`` or regions ``(images, R, F)``, float16 or float32; see :class:`FeatureFile`.

    Raises:
        FileNotFoundError: a file, folder or picture does not exist.
        ValueError: the split file is no JSON or has another structure, an image has no caption or an empty one, the
            features do not fit, or both or neither of ``images`` and ``features`` are given.

    References:
        Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
    """

    def __init__(
        self, captions: str | Path, images: str | Path | None = None, features: str | Path | None = None
    ) -> None:
        if (images is None) == (features is None):
            given = "neither" if images is None else "both"
            raise ValueError(f"give either images (pictures) or features (an .npy file of them), got {given}")
        entries = _read_entries(existing_path("captions", captions))
        self._read: PictureStore | FeatureFile
        if features is not None:
            self._read = FeatureFile(features, rows=len(entries))
        elif images is not None:
            self._read = open_pictures(images, [_names(entry) for entry in entries])
        sentences = [entry["sentences"] for entry in entries]
        super().__init__(
            [_text(sentence) for of_image in sentences for sentence in of_image],
            text_image_ids=torch.arange(len(entries)).repeat_interleave(torch.tensor([len(s) for s in sentences])),
            splits=group_by_split([entry["split"] for entry in entries]),
            num_images=len(entries),
            image_names=[entry["filename"] for entry in entries],
        )

    def load_image(self, image_id: int) -> Image | Tensor:
        """Read a picture as RGB, or a row of features as float32."""
        return self._read[image_id]


def _read_entries(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"captions must be a JSON split file, got {str(path)!r}: {error}") from error
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(
            f"captions: a Karpathy split file has a list 'images' with at least one entry, {path} has none"
        )
    for row, entry in enumerate(entries):
        problem = _problem(entry)
        if problem:
            raise ValueError(f"captions: images[{row}] of {path} {problem}")
    return entries


def _problem(entry: Any) -> str:
    if not isinstance(entry, dict):
        return f"must be an object, got {type(entry).__name__}"
    missing = {"filename", "split", "sentences"} - entry.keys()
    if missing:
        return f"lacks {sorted(missing)}, got {sorted(entry)}"
    if not isinstance(entry["filename"], str) or not isinstance(entry["split"], str):
        return f"must have strings as filename and split, got {entry['filename']!r} and {entry['split']!r}"
    sentences = entry["sentences"]
    if not isinstance(sentences, list) or not all(map(_has_text, sentences)):
        return f"({entry['filename']}) must have a list of sentences with text as 'raw' or words as 'tokens' each"
    return ""


def _has_text(sentence: Any) -> bool:
    if not isinstance(sentence, dict):
        return False
    if "raw" in sentence:
        return isinstance(sentence["raw"], str)
    tokens = sentence.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _text(sentence: Mapping[str, Any]) -> str:
    return str(sentence["raw"]) if "raw" in sentence else " ".join(sentence["tokens"])


def _names(entry: Mapping[str, Any]) -> list[str]:
    filename, filepath = entry["filename"], entry.get("filepath")
    return [f"{filepath}/{filename}", filename] if filepath else [filename]
