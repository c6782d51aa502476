"""Caption files that tell which caption belongs to which image: Karpathy's, COCO's own, and tables."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from warnings import warn

import torch

from vse_lightning.checks import require
from vse_lightning.cli.evaluate.caption_files import Captions, number_images
from vse_lightning.data.files.split_files import parse_split_file
from vse_lightning.data.files.text_files import (
    JSON_LINES,
    TextTable,
    column_names,
    has_json_lines,
    read_json,
    read_lines,
    read_table,
    table_of_objects,
)

IMAGE_COLUMNS = ("image", "image_name", "image_id", "filename", "file_name")
CAPTION_COLUMNS = ("caption", "comment", "text")
OPTION = "--captions"


def read_paired(path: Path, split: str | None) -> Captions | None:
    """Read a file that tells which caption belongs to which image, or None if it is one of mere lines.

    That is a Karpathy split file, of which one split is evaluated (by default ``test``, or the only one there is);
    COCO's ``captions_val2017.json``; or a table (CSV, TSV, JSON, JSON lines, Flickr8k's ``captions.txt`` and
    ``Flickr8k.token.txt``) with a row for each caption, or lists of captions.
    """
    suffix = path.suffix.lower()
    if suffix == ".json" and not has_json_lines(path):
        content = read_json(OPTION, path)
        if isinstance(content, dict) and "annotations" not in content:
            return _of_split_file(path, content, split)
        paired = _of_table(path, table_of_objects(OPTION, path, content)) if isinstance(content, list) else None
        paired = paired or _of_coco(path, content)
    elif suffix in (".csv", ".tsv", ".json", *JSON_LINES) or _is_table(path):
        paired = _of_table(path, read_table(OPTION, path))
    else:
        return None
    require(split is None, "--split is for a Karpathy JSON as --captions, got {}", path)
    return paired


def _of_split_file(path: Path, content: Any, split: str | None) -> Captions:
    file = parse_split_file(OPTION, path, content)
    chosen = split or (next(iter(file.splits)) if len(file.splits) == 1 else "test")
    imgids = file.ids_of_images("imgid")
    if imgids is not None and not _ascends(imgids.tolist()):
        warn(f"--captions: rows follow the order of {path}, which is not that of its 'imgid'", stacklevel=2)
    require(chosen in file.splits, "--split must be one of {} in {}, got {!r}", ", ".join(file.splits), path, chosen)
    return Captions(
        origin=f"{path.name}, split {chosen}",
        texts=file.captions,
        text_image_ids=file.text_image_ids,
        image_ids=file.splits[chosen],
        train_image_ids=file.splits.get("train") if chosen != "train" else None,
        coco_image_ids=file.ids_of_images("cocoid"),
        coco_text_ids=file.ids_of_captions("sentid"),
        image_names=_all_names([entry.get("filename") for entry in file.entries]),
        imgids=imgids,
    )


def _of_coco(path: Path, content: Any) -> Captions:
    """COCO's own file, whose lists must be in one order, since programs read them in several."""
    try:
        image_ids = [int(image["id"]) for image in content["images"]]
        captions = [(int(note["image_id"]), int(note["id"]), note["caption"]) for note in content["annotations"]]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"it has no {error}" if isinstance(error, KeyError) else "other things are in it"
        raise ValueError(
            f"{OPTION} must be a Karpathy split file with a list 'images', COCO's file of captions with lists 'images' "
            f"and 'annotations', or a list of objects with an image and captions, and {path} is none ({problem})"
        ) from error
    row_of_image = {image_id: row for row, image_id in enumerate(image_ids)}
    unknown = [image_id for image_id, _, _ in captions if image_id not in row_of_image]
    require(not unknown, "--captions: annotations of {} must be of its images, got the image_id {}", path, *unknown[:1])
    bare = sorted(set(image_ids) - {image_id for image_id, _, _ in captions})
    require(not bare, "--captions: every image needs a caption, image {} of {} has none", *bare[:1], path)
    sorted_lists = _ascends(image_ids, strictly=True) and _ascends([image_id for image_id, _, _ in captions])
    if not sorted_lists:
        raise ValueError(
            f"{OPTION}: in which order rows follow the images and captions of {path} must be clear, but its lists are "
            "not sorted by image id: some programs read them as they are, others (torchvision) by ascending id. Sort "
            "the list 'images' by 'id' and 'annotations' by 'image_id' if your rows are so; or write your captions as "
            "lines, and give their images by --image_ids"
        )
    return Captions(
        origin=path.name,
        texts=[text for _, _, text in captions],
        text_image_ids=torch.tensor([row_of_image[image_id] for image_id, _, _ in captions]),
        image_ids=torch.arange(len(image_ids)),
        coco_image_ids=torch.tensor(image_ids),
        coco_text_ids=torch.tensor([text_id for _, text_id, _ in captions]),
        image_names=_all_names([image.get("file_name") for image in content["images"]]),
        imgids=torch.tensor(image_ids),
    )


def _ascends(ids: Sequence[int], *, strictly: bool = False) -> bool:
    return all(one < other or (one == other and not strictly) for one, other in pairwise(ids))


def _is_table(path: Path) -> bool:
    """Whether the first line of a text file names the columns of a table, or is one of its rows."""
    lines = read_lines(OPTION, path)
    names = column_names(lines[0]) if lines else []
    return not {*IMAGE_COLUMNS}.isdisjoint(names) and not {*CAPTION_COLUMNS}.isdisjoint(names)


def _of_table(path: Path, table: TextTable) -> Captions:
    images = _column(path, table, IMAGE_COLUMNS)
    values = _column(path, table, CAPTION_COLUMNS)
    texts, image_of_text = [], []
    for image, value, name in zip(images, values, table.row_names, strict=True):
        captions = value if isinstance(value, list) else [value]
        whole = bool(captions) and all(isinstance(caption, str) and caption.strip() for caption in captions)
        require(whole, "--captions must have a caption, or a list of some, in each row, got {!r} in {}", value, name)
        has_image = isinstance(image, str | int) and image != ""
        require(has_image, "--captions must say of which image each row is, got {!r} in {}", image, name)
        texts += captions
        image_of_text += [image] * len(captions)
    text_image_ids = number_images(image_of_text)
    names = list(dict.fromkeys(image_of_text))
    numbered = all(type(name) is int for name in names)
    return Captions(
        path.name,
        texts,
        text_image_ids,
        torch.unique(text_image_ids),
        image_names=_all_names(names),
        imgids=torch.tensor(names) if numbered else None,
    )


def _all_names(names: Sequence[Any]) -> Sequence[str] | None:
    return names if all(isinstance(name, str) for name in names) else None


def _column(path: Path, table: TextTable, known: Sequence[str]) -> Sequence[Any]:
    """The first column that has one of the names."""
    name = next((name for name in known if name in table.columns), None)
    if name is None:
        listed = ", ".join(table.columns)
        raise ValueError(f"{OPTION}: a table must have a column {' or '.join(known)}, {path} has {listed}")
    return table.columns[name]
