"""A split file of a few images with uneven captions, and outputs of a model for its test split."""

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from vse_lightning.metrics import RetrievalMetrics

WORDS = ["a", "dog", "runs", "on", "the", "grass", "while", "two", "cats", "sleep", "near", "red", "bus"]


@dataclass
class Outputs:
    """Of the test split; ids are row numbers of the whole file."""

    folder: Path
    captions: Path
    images: np.ndarray
    texts: np.ndarray
    image_ids: torch.Tensor
    text_ids: torch.Tensor
    text_image_ids: torch.Tensor
    texts_of_file: list[str]
    image_of_text_of_file: torch.Tensor

    @property
    def scores(self):
        images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (self.images, self.texts))
        return images @ texts.T

    def metrics(self, relevance=None, **options):
        """The same by hand."""
        if relevance is None:
            options |= {"ndcg_ks": (), "coherent_ks": ()}
        collection = RetrievalMetrics(relevance=relevance, **options)
        collection.update(
            torch.from_numpy(self.images),
            torch.from_numpy(self.texts),
            image_ids=self.image_ids,
            text_image_ids=self.text_image_ids,
            text_ids=self.text_ids,
        )
        return collection

    def save(self, name="model.npz", noise=0.0):
        path = self.folder / name
        images = self.images + noise * np.random.default_rng(9).normal(size=self.images.shape)
        np.savez(path, image_embeds=images, text_embeds=self.texts)
        return str(path)


@pytest.fixture
def outputs(tmp_path):
    draw = np.random.default_rng(0)
    images, sentids, splits = [], count(1000), ["train"] * 6 + ["test"] * 12 + ["val"] * 3
    draw.shuffle(splits)
    for number, split in enumerate(splits):
        sentences = [
            {"raw": " ".join(draw.choice(WORDS, size=6)), "sentid": next(sentids)} for _ in range(1 + number % 3)
        ]
        images.append({"filename": f"{number}.jpg", "split": split, "sentences": sentences, "cocoid": 100 + number})
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"images": images}))
    image_of_text = torch.tensor([number for number, image in enumerate(images) for _ in image["sentences"]])
    image_ids = torch.tensor([number for number, image in enumerate(images) if image["split"] == "test"])
    text_ids = torch.isin(image_of_text, image_ids).nonzero().flatten()
    embeds = draw.normal(size=(len(images), 6))
    return Outputs(
        tmp_path,
        captions,
        embeds[image_ids],
        embeds[image_of_text[text_ids]] + 0.8 * draw.normal(size=(len(text_ids), 6)),
        image_ids,
        text_ids,
        image_of_text[text_ids],
        [sentence["raw"] for image in images for sentence in image["sentences"]],
        image_of_text,
    )


@pytest.fixture
def evaluate(tmp_path):
    """Run the command, give what it writes."""
    from vse_lightning.cli import main

    def made(*args):
        output = tmp_path / "results.json"
        main(["evaluate", *map(str, args), "--output", str(output), "--resamples", "200"])
        return json.loads(output.read_text())

    return made


@pytest.fixture
def values_of():
    def of(results, model="model"):
        return {name: result["value"] for name, result in results["models"][model].items()}

    return of
