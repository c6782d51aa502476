"""The ``*_precomp`` folders of VSE++, SCAN and VSE-infinity: captions as lines, image features as arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.data.files.feature_file import FeatureFile
from vse_lightning.data.files.text_files import read_json, read_lines
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.paths import existing_path


class PrecompSource(ImageTextSource):
    """``coco_precomp``, ``f30k_precomp`` and folders like them.

    For each split there are ``{split}_caps.txt``, one caption on each line; ``{split}_ims.npy``, pooled features
    ``(rows, F)`` or regions ``(rows, R, F)``, float16 or float32, memory-mapped and never loaded whole; and perhaps
    ``{split}_ids.txt``, image ids. Which captions belong to an image follows from them:

    * ``{split}_ids.txt`` has a line for each caption, and lines repeat: captions with the same id belong to one image,
      any number of them. The features have a row for each caption, or one for each different id in order of appearance.
    * As many rows as captions: a row that repeats the one before is the same image, written once for each caption.
    * ``k`` times as many captions as rows: each image has the next ``k`` captions.

    ``id_mapping.json`` of VSE-infinity (id -> file name), in the folder or above it, gives images their names.

    Args:
        root: the folder.
        splits: split -> file prefix, such as ``{"train": "train", "val": "dev", "test": "testall"}`` for all 5,000 test
            images of COCO. Default: every ``*_caps.txt`` there is, ``dev`` under the name ``val``.

    Raises:
        FileNotFoundError: the folder or a file does not exist.
        ValueError: captions, ids and features do not fit together, or features are not finite.

    References:
        Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018; Lee et al.,
        "Stacked Cross Attention for Image-Text Matching", ECCV 2018; Chen et al., "Learning the Best Pooling Strategy
        for Visual Semantic Embedding", CVPR 2021. Their loaders divide by five captions; this one counts them.
    """

    @typed
    def __init__(self, root: str | Path, splits: dict[str, str] | None = None) -> None:
        folder = existing_path("root", root)
        prefixes = _prefixes(folder) if splits is None else splits
        read = [_read_split(folder, prefix) for prefix in prefixes.values()]
        counts = torch.tensor([len(split.rows) for split in read])
        starts = (counts.cumsum(0) - counts).tolist()
        self._features = [split.features for split in read]
        self._file_of_image = torch.arange(len(read)).repeat_interleave(counts)
        self._row_of_image = torch.cat([split.rows for split in read])
        shapes = {prefix: split.features.row_shape for prefix, split in zip(prefixes.values(), read, strict=True)}
        message = "features of all splits must have one shape, got {} in {}"
        require(len(set(shapes.values())) < 2, message, shapes, folder)
        super().__init__(
            [caption for split in read for caption in split.captions],
            text_image_ids=torch.cat(
                [split.image_of_caption + start for split, start in zip(read, starts, strict=True)]
            ),
            splits={
                name: torch.arange(start, start + len(split.rows))
                for name, split, start in zip(prefixes, read, starts, strict=True)
            },
            num_images=int(counts.sum()),
            image_names=[name for split in read for name in split.image_names],
        )

    def load_image(self, image_id: int) -> Tensor:
        """Read the features of one image, ``(F,)`` or ``(R, F)`` float32."""
        return self._features[int(self._file_of_image[image_id])][int(self._row_of_image[image_id])]


class _Split(NamedTuple):
    captions: list[str]
    features: FeatureFile
    rows: Tensor  # (images,) the row of features of each image
    image_of_caption: Tensor  # (captions,) counted from 0
    image_names: list[str]


def _prefixes(folder: Path) -> dict[str, str]:
    prefixes = [path.name.removesuffix("_caps.txt") for path in sorted(folder.glob("*_caps.txt"))]
    if not prefixes:
        raise FileNotFoundError(f"root: no files named '*_caps.txt' in {folder}")
    return {"val" if prefix == "dev" and "val" not in prefixes else prefix: prefix for prefix in prefixes}


def _read_split(folder: Path, prefix: str) -> _Split:
    captions = read_lines("root", existing_path("root", folder / f"{prefix}_caps.txt"))
    message = "{}_caps.txt must have a caption on each line, got an empty file in {}"
    require(bool(captions), message, prefix, folder)
    blank = [number for number, line in enumerate(captions, start=1) if not line]
    message = "{}_caps.txt must have a caption on each line, line {} in {} is empty"
    require(not blank, message, prefix, *blank[:1], folder)
    features = FeatureFile(folder / f"{prefix}_ims.npy")
    ids_file = folder / f"{prefix}_ids.txt"
    ids = read_lines("root", ids_file) if ids_file.exists() else None
    blank = [number for number, line in enumerate(ids or [], start=1) if not line]
    require(not blank, "{} must have an id on each line, line {} is empty", ids_file, *blank[:1])
    counts = len(captions), len(features)
    message = "{} must have a line for each of the {} captions or of the {} rows of features, got {}"
    require(ids is None or len(ids) in counts, message, ids_file, *counts, len(ids or []))
    image_of_caption = _match(prefix, len(captions), features, ids)
    first_caption = torch.from_numpy(np.unique(image_of_caption, return_index=True)[1])
    counts = len(captions), len(first_caption)
    message = "{} must have a row for each of the {} captions or of the {} different ids in {}, got {}"
    require(len(features) in counts, message, features.path, *counts, ids_file.name, len(features))
    rows = first_caption if len(features) == len(captions) else torch.arange(len(features))
    if ids is None:
        names = [f"{prefix} image {image}" for image in range(len(rows))]
    else:
        lines = first_caption if len(ids) == len(captions) else rows
        mapping = _id_mapping(folder)
        names = [mapping.get(ids[line], f"{prefix} image {ids[line]}") for line in lines.tolist()]
    return _Split(captions, features, rows, image_of_caption, names)


def _match(prefix: str, captions: int, features: FeatureFile, ids: Sequence[str] | None) -> Tensor:
    """Number of the image that each caption describes, as the class describes it."""
    if ids is not None and len(ids) == captions > len(set(ids)):
        number: dict[str, int] = {}
        return torch.tensor([number.setdefault(image, len(number)) for image in ids])
    if captions == len(features):
        return features.runs()
    if captions % len(features):
        raise ValueError(
            f"{prefix}_caps.txt and {prefix}_ims.npy in {features.path.parent} do not fit: {captions} captions are no "
            f"multiple of {len(features)} rows; where images have different numbers of captions, write "
            f"{prefix}_ids.txt with the image's id for each caption"
        )
    return torch.arange(len(features)).repeat_interleave(captions // len(features))


def _id_mapping(folder: Path) -> dict[str, str]:
    for path in (folder / "id_mapping.json", folder.parent / "id_mapping.json"):
        if path.exists():
            mapping = read_json("root", path)
            require(isinstance(mapping, dict), "{} must be a JSON object, id -> file name", path)
            return {number: str(name) for number, name in mapping.items()}
    return {}
