"""PMRP against a loop over the definition of the released evaluation."""

import json

import numpy as np
import pytest
import torch

from vse_lightning.functional import cosine_similarity, r_precision
from vse_lightning.functional._average_precision import r_precision_of_ranks
from vse_lightning.functional._ranks import positive_ranks
from vse_lightning.metrics import PMRP


@pytest.fixture
def annotations(tmp_path):
    """Some categories of the images 100, 101, ...; the last ones have none."""

    def write(image_ids, num_categories=6, bare=2):
        generator = np.random.default_rng(0)
        of_image = {
            int(image): np.flatnonzero(generator.random(num_categories) < 0.4).tolist() or [0]
            for image in sorted(image_ids)[:-bare]
        }
        instances = [
            {"image_id": image, "category_id": category + 1, "area": 2.5}
            for image, categories in of_image.items()
            for category in categories * 2  # objects come several times
        ]
        path = tmp_path / "instances.json"
        path.write_text(json.dumps({"images": [], "annotations": instances}))
        return path, of_image

    return write


def of_released_code(scores, query_images, candidate_images, of_image, distances):
    """Mean R-Precision of the sorted lists, over the distances and the queries."""
    values = []
    for most in distances:
        for query, row in zip(query_images, scores, strict=True):
            order = np.argsort(-row, kind="stable")
            distance = [len(set(of_image[query]) ^ set(of_image[candidate_images[place]])) for place in order]
            matched = np.array(distance) <= most
            count = matched.sum()
            values.append(matched[:count].sum() / count)
    return np.mean(values)


@pytest.mark.parametrize("distances", [(0, 1, 2), (0,)])
@pytest.mark.parametrize("chunk_size", [None, 64])
def test_equal_released_code(make_batch, annotations, distances, chunk_size):
    batch = make_batch(150)
    path, of_image = annotations(batch.image_ids.tolist())
    batch.text_features = None
    metric = PMRP(path, distances, chunk_size=chunk_size)
    for _ in range(2):  # repeats are dropped
        given = {name: rows for name, rows in vars(batch).items() if rows is not None}
        metric.update(**given)
    known = torch.tensor([image in of_image for image in batch.image_ids.tolist()])
    known_texts = torch.tensor([image in of_image for image in batch.text_image_ids.tolist()])
    scores = cosine_similarity(batch.image_embeds[known].double(), batch.text_embeds[known_texts].double()).numpy()
    sides = batch.image_ids[known].tolist(), batch.text_image_ids[known_texts].tolist()
    values = metric.compute()
    assert list(values) == ["i2t_pmrp", "t2i_pmrp"]
    expected = of_released_code(scores, *sides, of_image, distances)
    assert float(values["i2t_pmrp"]) == pytest.approx(expected, abs=1e-6)
    expected = of_released_code(scores.T, *sides[::-1], of_image, distances)
    assert float(values["t2i_pmrp"]) == pytest.approx(expected, abs=1e-6)
    per_query = metric.per_query()["t2i_pmrp"]
    assert per_query.ids.tolist() == batch.text_ids[known_texts].sort().values.tolist()


def test_a_perfect_model_and_a_collapsed_one(make_batch, annotations):
    batch = make_batch(40, captions=(2,))
    path, of_image = annotations(batch.image_ids.tolist(), bare=1)
    shows = torch.zeros(len(batch.image_ids), 6)
    for row, image in enumerate(batch.image_ids.tolist()):
        shows[row, of_image.get(image, [])] = 1
    batch.image_embeds = 2 * shows - 1  # the cosine falls with the distance
    rows = (batch.text_image_ids[:, None] == batch.image_ids).int().argmax(dim=1)
    batch.text_embeds, batch.text_features = batch.image_embeds[rows], None
    given = {name: rows for name, rows in vars(batch).items() if rows is not None}
    metric = PMRP(path)
    metric.update(**given)
    assert metric.compute() == {"i2t_pmrp": 1, "t2i_pmrp": 1}
    given["image_embeds"] = torch.ones_like(given["image_embeds"])
    given["text_embeds"] = torch.ones_like(given["text_embeds"])
    collapsed = PMRP(path, distances=(0,))
    collapsed.update(**given)
    # Everything ties, and what does not match comes first: unless matches are the majority nothing is found.
    assert collapsed.compute() == {"i2t_pmrp": 0, "t2i_pmrp": 0}


def test_ties_count_as_for_the_ranks_of_all_positives():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(4, (200, 17), generator=generator).float()
    positives = torch.rand(200, 17, generator=generator) < 0.4
    expected = r_precision_of_ranks(positive_ranks(scores, positives), positives.sum(dim=1))
    assert r_precision(scores, positives).equal(expected)
    assert 0 < expected.mean() < 1


def test_categories_by_image(tmp_path, make_batch):
    batch = make_batch(6)
    path = tmp_path / "categories.json"
    path.write_text(json.dumps({str(image): [3, 1] for image in batch.image_ids.tolist()}))
    batch.text_features = None
    metric = PMRP(path)
    metric.update(**{name: rows for name, rows in vars(batch).items() if rows is not None})
    assert metric.compute()["i2t_pmrp"] == 1  # everything matches everything


def test_wrong_input(tmp_path, make_batch, annotations):
    with pytest.raises(FileNotFoundError, match="instances"):
        PMRP(tmp_path / "instances.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"annotations": [{"image_id": 3}]}')
    with pytest.raises(ValueError, match=r"annotations must be COCO instances.*broken.json .KeyError: 'category_id'"):
        PMRP(broken)
    batch = make_batch(5)
    path, _ = annotations(batch.image_ids.tolist())
    with pytest.raises(ValueError, match="distances must be a whole number of at least 0, got -1"):
        PMRP(path, distances=(-1,))
    with pytest.raises(ValueError, match="distances must name at least one"):
        PMRP(path, distances=())
    metric = PMRP(path)
    with pytest.raises(ValueError, match="update saw no image"):
        metric.per_query()
    given = {name: rows for name, rows in vars(batch).items() if name != "text_features"}
    for name in ("image_ids", "text_image_ids"):
        given[name] = given[name] + 10**6
    metric.update(**given)
    with pytest.raises(ValueError, match="image_ids must be ids of the annotations, got none of them, such as"):
        metric.compute()
