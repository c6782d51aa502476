"""The split files of Karpathy and Fei-Fei: one JSON with the captions and splits of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.data.sources.image_text_source import group_by_split


@dataclass(frozen=True)
class SplitFile:
    """What a split file says; the id of an image or caption is its place in the file."""

    path: Path
    entries: Sequence[Mapping[str, Any]]  # of its list ``images``, as they are there
    captions: Sequence[str]  # of all images, ``raw`` or the ``tokens`` with blanks between
    text_image_ids: Tensor  # (captions,) the image that each describes
    splits: Mapping[str, Tensor]  # split name -> image ids; ``restval`` (COCO) joins ``train``

    def ids_of_images(self, key: str) -> Tensor | None:
        """Whole numbers that the file has for each image, such as ``cocoid``, if it has one for all."""
        return _whole_numbers([entry.get(key) for entry in self.entries])

    def ids_of_captions(self, key: str) -> Tensor | None:
        """Whole numbers that the file has for each sentence, such as ``sentid``, if it has one for all."""
        return _whole_numbers([sentence.get(key) for entry in self.entries for sentence in entry["sentences"]])


def parse_split_file(argument: str, path: Path, content: Any) -> SplitFile:
    """Check what the JSON of a split file holds, and take from it what all readers need.

    Messages name the ``argument`` whose file it is, and the entry.
    """
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        rule = "a Karpathy split file has a list 'images' with at least one entry"
        raise ValueError(f"{argument}: {rule}, {path} has none")
    for row, entry in enumerate(entries):
        problem = _problem(entry)
        require(not problem, "{}: images[{}] of {} {}", argument, row, path, problem)
    counts = torch.tensor([len(entry["sentences"]) for entry in entries])
    return SplitFile(
        path,
        entries,
        [_text(sentence) for entry in entries for sentence in entry["sentences"]],
        torch.arange(len(entries)).repeat_interleave(counts),
        group_by_split([entry["split"] for entry in entries]),
    )


def _problem(entry: Any) -> str:
    if not isinstance(entry, dict):
        return f"must be an object, got {type(entry).__name__}"
    missing = {"split", "sentences"} - entry.keys()
    if missing:
        hint = ": is it COCO's own file of annotations?" if "coco_url" in entry else ""
        return f"lacks {sorted(missing)}, got {sorted(entry)}{hint}"
    if not isinstance(entry["split"], str):
        return f"must have a string as split, got {entry['split']!r}"
    name = f"({entry['filename']}) " if "filename" in entry else ""
    sentences = entry["sentences"]
    if not isinstance(sentences, list) or not all(map(_has_text, sentences)):
        return f"{name}must have a list of sentences with text as 'raw' or words as 'tokens' each"
    if not sentences:
        return f"{name}must have at least one sentence, got none"
    blank = next((text for text in map(_text, sentences) if not text.strip()), None)
    return "" if blank is None else f"{name}must have sentences that are not blank, got {blank!r}"


def _has_text(sentence: Any) -> bool:
    if not isinstance(sentence, dict):
        return False
    if "raw" in sentence:
        return isinstance(sentence["raw"], str)
    tokens = sentence.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _text(sentence: Mapping[str, Any]) -> str:
    return str(sentence["raw"]) if "raw" in sentence else " ".join(sentence["tokens"])


def _whole_numbers(values: Sequence[Any]) -> Tensor | None:
    return torch.tensor(values) if all(type(value) is int for value in values) else None
