"""The split files of Karpathy and Fei-Fei with pictures or features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.data.files.feature_file import FeatureFile
from vse_lightning.data.files.pictures import PictureStore, open_pictures
from vse_lightning.data.files.split_files import SplitFile, parse_split_file
from vse_lightning.data.files.text_files import read_json
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.paths import existing_path

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
        features: ``.npy`` file of pooled features ``(rows, F)`` or regions ``(rows, R, F)``; see ``FeatureFile``.
            The row of an image is its ``imgid``, also where the split file was filtered or sorted anew; of a file
            without ``imgid`` the rows are the images in their order.

    Raises:
        FileNotFoundError: a file, folder or picture does not exist.
        ValueError: the split file is no JSON or has another structure, an image has no caption or an empty one, the
            features do not fit, or both or neither of ``images`` and ``features`` are given.
        UnreadableImageError: from ``load_image``: a picture is damaged.

    References:
        Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
    """

    @typed
    def __init__(
        self, captions: str | Path, images: str | Path | None = None, features: str | Path | None = None
    ) -> None:
        if (images is None) == (features is None):
            which = "neither" if images is None else "both"
            raise ValueError(f"give either images (pictures) or features (an .npy file of them), got {which}")
        path = existing_path("captions", captions)
        file = parse_split_file("captions", path, read_json("captions", path))
        self._read: PictureStore | FeatureFile
        self._rows = torch.arange(len(file.entries))
        if features is not None:
            self._read, self._rows = _open_features(features, file)
        elif images is not None:
            self._read = open_pictures(images, _names(file))
        super().__init__(
            file.captions,
            text_image_ids=file.text_image_ids,
            splits=file.splits,
            num_images=len(file.entries),
            image_names=[str(entry.get("filename", f"images[{row}]")) for row, entry in enumerate(file.entries)],
            image_checksums=getattr(self._read, "checksums", None),
        )

    def load_image(self, image_id: int) -> Image | Tensor:
        """Read a picture as RGB, or a row of features as float32."""
        return self._read[int(self._rows[image_id])]


def _open_features(features: str | Path, file: SplitFile) -> tuple[FeatureFile, Tensor]:
    """The features, and the row of each image."""
    in_order = torch.arange(len(file.entries))
    imgids = _imgids(file)
    if imgids is None or torch.equal(imgids, in_order):
        return FeatureFile(features, rows=len(file.entries)), in_order
    opened, most = FeatureFile(features), int(imgids.max())
    if len(opened) <= most:
        raise ValueError(
            f"features must have a row for each 'imgid' of {file.path}, which run to {most}, got {len(opened)} rows in "
            f"{opened.path}: where rows are the images of the split file in its order, it must have no 'imgid'"
        )
    return opened, imgids


def _imgids(file: SplitFile) -> Tensor | None:
    """What the file says about the row of each image."""
    imgids = [entry.get("imgid") for entry in file.entries]
    if imgids.count(None) == len(imgids):
        return None
    for row, imgid in enumerate(imgids):
        whole = type(imgid) is int and imgid >= 0
        require(whole, "captions: images[{}] of {} must have a row number as 'imgid', got {!r}", row, file.path, imgid)
    _require_unique(file, imgids, "have the same 'imgid',")
    return torch.tensor(imgids)


def _names(file: SplitFile) -> list[list[str]]:
    """What each picture may be called in a folder or zip."""
    names = []
    for row, entry in enumerate(file.entries):
        named = "filename" in entry
        require(named, "captions: images[{}] of {} lacks ['filename'], got {}", row, file.path, sorted(entry))
        filename, filepath = entry["filename"], entry.get("filepath")
        strings = isinstance(filename, str) and isinstance(entry.get("filepath", ""), str)
        message = "captions: images[{}] of {} must have strings as filename and filepath, got {!r}"
        require(strings, message, row, file.path, filename)
        names.append([f"{filepath}/{filename}", filename] if filepath else [filename])
    _require_unique(file, [first for first, *_ in names], "are both")
    return names


def _require_unique(file: SplitFile, values: Sequence[Any], problem: str) -> None:
    rows: dict[Any, int] = {}
    for row, value in enumerate(values):
        first = rows.setdefault(value, row)
        require(first == row, "captions: images[{}] and images[{}] of {} {} {}", first, row, file.path, problem, value)
