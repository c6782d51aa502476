"""Real captions where they are, and a cache folder that is not the user's."""

import json
from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Captions(NamedTuple):
    """What a source is given."""

    captions: list[str]
    image_ids: Tensor
    text_ids: Tensor


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VSE_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def flickr8k_folder(real_data):
    return real_data / "flickr8k"


@pytest.fixture(scope="session")
def flickr8k(flickr8k_folder):
    """The captions of the splits of Flickr8k."""
    images = json.loads((flickr8k_folder / "captions.json").read_text())["images"]
    splits = {}
    for name in ("train", "test"):
        rows = [
            (sentence["raw"], image["imgid"], sentence["sentid"])
            for image in images
            if image["split"] == name
            for sentence in image["sentences"]
        ]
        captions, image_ids, text_ids = zip(*rows, strict=True)
        splits[name] = Captions(list(captions), torch.tensor(image_ids), torch.tensor(text_ids))
    return splits
