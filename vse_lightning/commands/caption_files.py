"""Which captions belong to which image, and which of them are evaluated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.data.paths import existing_path
from vse_lightning.data.splits import group_by_split


@dataclass(frozen=True)
class Captions:
    """The images and captions of a file; an id is a row number over the whole file.

    Attributes:
        origin: where they are from, for the reader of the results.
        texts: all captions, or none where only their number is known.
        text_image_ids: ``(number of captions,)`` the image that each describes.
        image_ids: ``(N,)`` the images that are evaluated, ascending.
        train_image_ids: those of the train split, if the file has one.
        coco_image_ids: the COCO id of every image, if the file tells.
        coco_text_ids: the COCO id of every caption, if the file tells.
    """

    origin: str
    texts: Sequence[str]
    text_image_ids: Tensor
    image_ids: Tensor
    train_image_ids: Tensor | None = None
    coco_image_ids: Tensor | None = None
    coco_text_ids: Tensor | None = None

    @property
    def text_ids(self) -> Tensor:
        """``(M,)`` the captions that are evaluated, ascending."""
        return self.texts_of(self.image_ids)

    def texts_of(self, image_ids: Tensor) -> Tensor:
        """The captions of some images, ascending."""
        return torch.isin(self.text_image_ids, image_ids).nonzero().flatten()

    def texts_at(self, text_ids: Tensor) -> list[str]:
        """What some captions say."""
        return [self.texts[row] for row in text_ids.tolist()]


def read_split_file(path: str, split: str | None) -> Captions:
    """Read a Karpathy split file.

    Args:
        path: a JSON file with a list ``images``, each with ``split`` and ``sentences``.
        split: which to evaluate; default ``test``, or the only one there is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another structure or no such split.
    """
    found = existing_path("--captions", path)
    try:
        images = json.loads(found.read_text(encoding="utf-8"))["images"]
        sentences = [sentence for image in images for sentence in image["sentences"]]
        texts = [sentence["raw"] if "raw" in sentence else " ".join(sentence["tokens"]) for sentence in sentences]
        splits = group_by_split([image["split"] for image in images])
        counts = torch.tensor([len(image["sentences"]) for image in images])
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"--captions: a Karpathy split file has a list 'images', each with 'split' and 'sentences' of 'raw' or "
            f"'tokens'; {path} cannot be read as one ({problem})"
        ) from error
    chosen = split or (next(iter(splits)) if len(splits) == 1 else "test")
    require(chosen in splits, "--split must be one of {} in {}, got {!r}", ", ".join(splits), path, chosen)
    bare = (counts == 0).nonzero().flatten().tolist()
    require(not bare, "--captions: every image needs a sentence, images[{}] of {} has none", *bare[:1], path)
    return Captions(
        origin=f"{found.name}, split {chosen}",
        texts=texts,
        text_image_ids=torch.arange(len(images)).repeat_interleave(counts),
        image_ids=splits[chosen],
        train_image_ids=splits.get("train") if chosen != "train" else None,
        coco_image_ids=_ids(images, "cocoid"),
        coco_text_ids=_ids(sentences, "sentid"),
    )


def read_lines(
    path: str | None,
    image_ids: str | None,
    captions_per_image: int | None,
    num_texts: int,
    known_image_ids: Tensor | None = None,
) -> Captions:
    """Read a file with one caption per line, or know only how many captions there are.

    Args:
        path: the text file, if there is one.
        image_ids: a file with one image id per caption, in lines or an ``.npy`` of integers; images are counted in the
            order in which they first appear.
        captions_per_image: instead, how many consecutive captions each image has.
        num_texts: how many captions there are where no file tells.
        known_image_ids: ``(captions,)`` the image of each, where embeddings bring it and neither is given.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if neither or both of ``image_ids`` and ``captions_per_image`` are given, numbers do not fit, or a
            line is empty.
    """
    told = (image_ids is not None) + (captions_per_image is not None)
    require(
        told == 1 or (told == 0 and known_image_ids is not None),
        "which captions belong to an image must be told by --captions-per-image, by --image-ids, or by a Karpathy JSON "
        "as --captions: give one of them (or none for a folder that predict wrote, which tells by itself)",
    )
    texts = [] if path is None else _lines("--captions", existing_path("--captions", path))
    blank = [number for number, text in enumerate(texts, start=1) if not text]
    require(not blank, "--captions must have a caption on each line, line {} of {} is empty", *blank[:1], path)
    count = len(texts) or num_texts
    if image_ids is not None:
        file = existing_path("--image-ids", image_ids)
        of_text = _integers(file) if file.suffix == ".npy" else _lines("--image-ids", file)
        message = "--image-ids must have an id for each of the {} captions, got {}"
        require(len(of_text) == count, message, count, len(of_text))
        number: dict[object, int] = {}
        text_image_ids = torch.tensor([number.setdefault(image, len(number)) for image in of_text])
    elif captions_per_image is None and known_image_ids is not None:
        message = "--captions must have a line for each of the {} captions that were embedded, got {}"
        require(len(known_image_ids) == count, message, len(known_image_ids), count)
        text_image_ids = torch.unique(known_image_ids, return_inverse=True)[1]
    else:
        each = captions_per_image or 0
        fits = each > 0 and count % each == 0
        require(fits, "--captions-per-image must divide the number of captions, got {} for {}", each, count)
        text_image_ids = torch.arange(count // each).repeat_interleave(each)
    origin = "captions without text" if path is None else Path(path).name
    return Captions(origin, texts, text_image_ids, torch.unique(text_image_ids))


def _ids(entries: Sequence[Any], key: str) -> Tensor | None:
    ids = [entry.get(key) for entry in entries]
    return torch.tensor(ids) if all(isinstance(number, int) for number in ids) else None


def _lines(argument: str, path: Path) -> list[str]:
    try:
        # Told what ends a line, Python does not break captions at the rarer characters that it would take for an end.
        with path.open(encoding="utf-8", newline="\n") as file:
            return [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(f"{argument} must be a text file in UTF-8, got {path} ({error})") from error


def _integers(path: Path) -> list[int]:
    ids = np.load(path, allow_pickle=False)
    message = "--image-ids must be integers (captions,), got {} {}"
    require(ids.ndim == 1 and ids.dtype.kind in "iu", message, ids.dtype, ids.shape)
    return list(ids.tolist())
