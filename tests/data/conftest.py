"""Small data sets on disk, the real one where it is, and a label source that needs no model."""

import json

import numpy as np
import pytest
import torch

from vse_lightning.relevance import RelevanceSource, RelevanceTable

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "white": (250, 250, 250)}


class WordTable(RelevanceTable):
    """Share of words that a caption has in common with the first caption of an image."""

    label = "shared words"

    def __init__(self, captions, image_ids, text_ids):
        self.words = {int(t): set(c.lower().split()) for t, c in zip(text_ids, captions, strict=True)}
        self.first = {int(i): int(t) for i, t in reversed(list(zip(image_ids, text_ids, strict=True)))}

    def block(self, image_ids, text_ids, captions_per_image=None):
        references = [self.words[self.first[i]] for i in image_ids.tolist()]
        texts = [self.words[t] for t in text_ids.tolist()]
        return torch.tensor([[len(r & t) / len(r | t) for t in texts] for r in references])


class WordRelevance(RelevanceSource):
    """Remembers what it was asked to do."""

    name = "shared words"
    cache_dir = None

    def __init__(self):
        self.fits, self.tables = [], []

    def fit(self, captions, image_ids):
        self.fits.append((list(captions), image_ids.tolist()))
        return self

    def table(self, captions, image_ids, text_ids=None):
        self.tables.append((list(captions), text_ids.tolist()))
        return WordTable(captions, image_ids, text_ids)


@pytest.fixture
def word_relevance():
    return WordRelevance()


@pytest.fixture
def karpathy(tmp_path):
    """A folder with a split file, pictures of two sizes and their features: 8 images with 1 to 3 captions."""
    image = pytest.importorskip("PIL.Image")
    splits = ["train", "train", "restval", "train", "val", "val", "test", "test"]
    entries = []
    for row, split in enumerate(splits):
        colour = list(COLOURS)[row % 4]
        filepath = "a" if row % 2 else "b"
        (tmp_path / "pictures" / filepath).mkdir(parents=True, exist_ok=True)
        size = (8, 6) if row < 6 else (5, 5)
        image.new("RGB", size, COLOURS[colour]).save(tmp_path / "pictures" / filepath / f"{row}.png")
        sentences = [{"raw": f"A {colour} picture , number {row} .", "sentid": 10 * row}]
        sentences += [{"tokens": [colour, "again", str(k)]} for k in range(row % 3)]
        entries.append({"filename": f"{row}.png", "filepath": filepath, "split": split, "sentences": sentences})
    features = np.arange(8 * 3, dtype=np.float16).reshape(8, 3)
    np.save(tmp_path / "features.npy", features)
    write_json(tmp_path / "captions.json", {"images": entries})
    return tmp_path


@pytest.fixture
def edit_captions(karpathy):
    """Change the split file of ``karpathy`` by a function that edits its list of images."""

    def edit(change):
        entries = json.loads((karpathy / "captions.json").read_text())["images"]
        change(entries)
        write_json(karpathy / "captions.json", {"images": entries})
        return karpathy / "captions.json"

    return edit


@pytest.fixture(scope="session")
def flickr8k(real_data):
    return real_data / "flickr8k"


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
