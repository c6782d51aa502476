"""The names that data sets give their splits."""

from collections.abc import Sequence

import torch
from torch import Tensor

STANDARD_NAMES = {"validation": "val", "valid": "val", "dev": "val", "restval": "train"}


def group_by_split(split_of_image: Sequence[str]) -> dict[str, Tensor]:
    """Image ids of each split, under the names ``train``, ``val`` and ``test`` where a data set has others for them.

    Example:
        >>> group_by_split(["train", "validation", "restval"])
        {'train': tensor([0, 2]), 'val': tensor([1])}
    """
    splits: dict[str, list[int]] = {}
    for image_id, name in enumerate(split_of_image):
        splits.setdefault(STANDARD_NAMES.get(name, name), []).append(image_id)
    return {name: torch.tensor(image_ids) for name, image_ids in splits.items()}
