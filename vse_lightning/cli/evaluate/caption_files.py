"""Which captions belong to which image, and which of them are evaluated."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vse_lightning.array_files import map_npy
from vse_lightning.checks import require, require_text
from vse_lightning.data.files.text_files import read_json, read_lines
from vse_lightning.paths import existing_path
from vse_lightning.targets import DISTRACTOR


@dataclass(frozen=True)
class Captions:
    """The images and captions of a file, with what else it tells; an id is a row number over the whole file."""

    origin: str  # where they are from, for the reader of the results
    texts: Sequence[str]  # all captions, or none where only their number is known
    text_image_ids: Tensor  # (number of captions,) the image that each describes; -1 where nobody knows
    image_ids: Tensor  # (N,) the images that are evaluated, ascending
    train_image_ids: Tensor | None = None
    coco_image_ids: Tensor | None = None  # of every image
    coco_text_ids: Tensor | None = None  # of every caption
    image_names: Sequence[str] | None = None  # the file name of every image
    imgids: Tensor | None = None  # an id of every image that is no row number

    def __post_init__(self) -> None:
        require_text("--captions", self.texts)

    @property
    def paired(self) -> bool:
        """Whether it is known which captions belong to which image."""
        return not bool((self.text_image_ids == DISTRACTOR).all())

    @property
    def text_ids(self) -> Tensor:
        """``(M,)`` the captions that are evaluated, ascending."""
        return self.texts_of(self.image_ids) if self.paired else torch.arange(len(self.text_image_ids))

    def texts_of(self, image_ids: Tensor) -> Tensor:
        """The captions of some images, ascending."""
        return torch.isin(self.text_image_ids, image_ids).nonzero().flatten()

    def has_runs_of(self, count: int) -> bool:
        """Whether the captions of each evaluated image are ``count`` that follow each other."""
        of_image = self.text_image_ids[self.text_ids]
        return torch.equal(of_image, self.image_ids.repeat_interleave(count))

    def texts_at(self, text_ids: Tensor) -> list[str]:
        """What some captions say."""
        return [self.texts[row] for row in text_ids.tolist()]


def without_pairs(origin: str, images: int, texts: int) -> Captions:
    """Images and texts of which only the number is known."""
    return Captions(origin, [], torch.full((texts,), DISTRACTOR), torch.arange(images))


def number_images(image_of_text: Sequence[Hashable]) -> Tensor:
    """Number the images that captions have by any ids, in the order in which they first appear: ``(captions,)``."""
    number: dict[Hashable, int] = {}
    return torch.tensor([number.setdefault(image, len(number)) for image in image_of_text])


def read_caption_lines(
    path: Path | None,
    image_ids: str | None,
    captions_per_image: int | None,
    num_texts: int,
    known_image_ids: Tensor | None = None,
) -> Captions:
    """Read a file with one caption per line, or know only their number, ``num_texts`` where no file tells.

    Their images are told by a file of ``image_ids``, one per caption (lines, a JSON list, or an ``.npy`` of integers or
    strings), which are counted in the order in which they first appear; by how many consecutive captions each image
    has; or, where neither is given, by embeddings that bring ``known_image_ids (captions,)``.
    """
    told = (image_ids is not None) + (captions_per_image is not None)
    require(
        told == 1 or (told == 0 and known_image_ids is not None),
        "which captions belong to an image must be told by --captions_per_image, by --image_ids, or by a Karpathy JSON "
        "or a table as --captions: give one of them (or none for a folder that predict wrote, which tells by itself)",
    )
    texts = [] if path is None else read_lines("--captions", path)
    require(path is None or bool(texts), "--captions must have a caption on each line, got the empty file {}", path)
    blank = [number for number, text in enumerate(texts, start=1) if not text]
    require(not blank, "--captions must have a caption on each line, line {} of {} is empty", *blank[:1], path)
    count = len(texts) or num_texts
    if image_ids is not None:
        of_text = _read_ids(existing_path("--image_ids", image_ids))
        message = "--image_ids must have an id for each of the {} captions, got {}"
        require(len(of_text) == count, message, count, len(of_text))
        text_image_ids = number_images(of_text)
    elif captions_per_image is None and known_image_ids is not None:
        message = "--captions must have a line for each of the {} captions that were embedded, got {}"
        require(len(known_image_ids) == count, message, len(known_image_ids), count)
        text_image_ids = torch.unique(known_image_ids, return_inverse=True)[1]
    else:
        each = captions_per_image or 0
        fits = each > 0 and count % each == 0
        require(fits, "--captions_per_image must divide the number of captions, got {} for {}", each, count)
        text_image_ids = torch.arange(count // each).repeat_interleave(each)
    origin = "captions without text" if path is None else path.name
    return Captions(origin, texts, text_image_ids, torch.unique(text_image_ids))


def _read_ids(path: Path) -> list[int | str]:
    """One id per caption."""
    suffix = path.suffix.lower()
    listed: Any
    if suffix == ".npy":
        ids = map_npy(path)
        message = "--image_ids must be integers or strings (captions,), got {} {} in {}"
        require(ids.ndim == 1 and ids.dtype.kind in "iuUS", message, ids.dtype, ids.shape, path)
        listed = ids.tolist()
    else:
        listed = read_json("--image_ids", path) if suffix == ".json" else read_lines("--image_ids", path)
        found = type(listed).__name__
        require(isinstance(listed, list), "--image_ids must be a list in JSON, got {} in {}", found, path)
    kinds = {type(number) for number in listed}
    message = "--image_ids must be all integers or all strings, got {} in {}"
    found = " and ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
    require(kinds in ({int}, {str}, {bytes}), message, found, path)
    blank = [row for row, number in enumerate(listed) if number in ("", b"")]
    require(not blank, "--image_ids must have an id for each caption, that of row {} of {} is empty", *blank[:1], path)
    return list(listed)
