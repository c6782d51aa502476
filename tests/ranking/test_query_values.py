"""The pass with a reader that is no metric of torchmetrics, against a loop over the definitions."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.query_values import query_values
from vse_lightning.ranking.reading import ALL, EvaluationProtocol, Reading

BEST_MATCH, BLOCKS = Reading(positives=ALL), EvaluationProtocol(chunk_size=64)


@dataclass
class Reader:
    """Whatever it reads is a value."""

    directions: tuple = ("i2t", "t2i", "t2t")
    reading: Reading = BEST_MATCH
    protocol: EvaluationProtocol = BLOCKS
    similarity: object = None
    relevance: object = None

    def query_values(self, ranking):
        if self.reading.graded:
            return torch.cat([ranking.relevance, ranking.ideal], dim=1)
        return ranking.positive_ranks[:, 0]


class Table:
    """Labels by id."""

    def block(self, image_ids, text_ids, captions_per_image=None):
        return torch.sin(image_ids[:, None] + 0.7 * text_ids.double()).abs()


@pytest.fixture
def seen():
    """150 images in any order, two or three texts of each, and texts of no image."""
    generator = torch.Generator().manual_seed(3)
    image_ids = torch.randperm(150, generator=generator)
    text_image_ids = torch.cat([image_ids, image_ids, image_ids[::2], torch.full((5,), -1)])
    return {
        "image_embeds": torch.randn(150, 8, generator=generator),
        "text_embeds": torch.randn(len(text_image_ids), 8, generator=generator),
        "image_ids": image_ids,
        "text_image_ids": text_image_ids,
        "text_ids": torch.randperm(len(text_image_ids), generator=generator),
    }


def lists(seen, direction):
    """Scores and matches of every query in the order of their ids, the query itself left out, as float64 arrays."""
    images, texts = seen["image_ids"].argsort(), seen["text_ids"].argsort()
    sides = {"i": (seen["image_embeds"][images], seen["image_ids"][images])}
    sides["t"] = seen["text_embeds"][texts], seen["text_image_ids"][texts]
    (queries, of_query), (candidates, of_candidate) = sides[direction[0]], sides[direction[2]]
    unit = [torch.nn.functional.normalize(embeds.double(), dim=1).numpy() for embeds in (queries, candidates)]
    scores = unit[0] @ unit[1].T
    matches = (of_query[:, None] == of_candidate).numpy()
    if direction == "t2t":
        scores[np.diag_indices_from(scores)] = -np.inf
        matches[np.diag_indices_from(matches)] = False
    asked = (of_query >= 0).numpy()
    return scores[asked], matches[asked]


def test_ranks_of_the_best_match(seen):
    (values,) = query_values(Gallery.from_state(seen), {"rank": Reader()})["rank"]
    for direction, found in values.items():
        expected = [
            1 + int((scores[~matches] >= scores[matches].max()).sum())
            for scores, matches in zip(*lists(seen, direction), strict=True)
            if matches.any()
        ]
        assert found.tolist() == expected


def test_relevance_by_place_and_the_ideal(seen):
    reader = Reader(("i2t", "t2i"), Reading(listed=4, ideal=3))
    (values,) = query_values(Gallery.from_state(seen), {"lists": reader}, relevance=Table())["lists"]
    labels = np.abs(np.sin(np.arange(150)[:, None] + 0.7 * np.arange(len(seen["text_ids"]))))
    described = seen["text_image_ids"][seen["text_ids"].argsort()] >= 0
    for direction, found in values.items():
        scores, matches = lists(seen, direction)
        relevance = labels if direction == "i2t" else labels.T[described]
        relevance = np.where(matches, 1, relevance)
        best = np.take_along_axis(relevance, np.argsort(-scores, axis=1)[:, :4], axis=1)
        expected = np.concatenate([best, -np.sort(-relevance, axis=1)[:, :3]], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_every_setting_has_folds_of_its_own(seen):
    readers = {"whole": Reader(("t2i",)), "parts": Reader(("t2i",), protocol=EvaluationProtocol(folds=3))}
    seen = {name: rows[seen["text_image_ids"] >= 0] if name.startswith("text") else rows for name, rows in seen.items()}
    values = query_values(Gallery.from_state(seen), readers)
    assert [len(values[name]) for name in readers] == [1, 3]
    assert sum(len(fold["t2i"]) for fold in values["parts"]) == len(values["whole"][0]["t2i"])
    assert query_values(Gallery.from_state(seen), readers, as_one_fold=True)["parts"][0].keys() == {"t2i"}


def test_a_direction_without_a_query_has_no_value():
    embeds, ids = torch.eye(3), torch.arange(3)
    seen = {"image_embeds": embeds, "text_embeds": embeds, "image_ids": ids, "text_image_ids": ids}
    (values,) = query_values(Gallery.from_state(seen), {"rank": Reader()})["rank"]
    counted = {direction: int((~found.isnan()).sum()) for direction, found in values.items()}
    assert counted == {"i2t": 3, "t2i": 3, "t2t": 0}
