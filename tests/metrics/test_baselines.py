"""What random scores and the labels themselves get."""

import numpy as np
import pytest
import torch

from vse_lightning.metrics import (
    PMRP,
    CoherentScore,
    CumulativeSemantic,
    HierarchicalAP,
    MeanAveragePrecision,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
)
from vse_lightning.ranking import random_and_ideal

DIRECTIONS = ("i2t", "t2i", "i2i", "t2t")


def every_graded_metric():
    return [
        metric
        for way in DIRECTIONS
        for metric in (
            RetrievalNDCG(7, way),
            RetrievalNDCG("relevant", way, "linear", exclude_positives=True),
            CoherentScore(20, way, exclude_positives=True),
            HierarchicalAP(way),
            CumulativeSemantic(5, way),
            MeanAveragePrecision(way, positive_threshold=0.5),
        )
    ]


def test_labels_themselves_are_perfect(make_batch):
    metrics = make_batch(60).feed(RetrievalMetrics(extra=every_graded_metric(), directions=DIRECTIONS))
    found = metrics.baselines()
    assert list(found) == ["random", "ideal"]
    assert list(found["ideal"]) == list(found["random"]) == list(metrics)
    for name, value in found["ideal"].items():
        if "recall" not in name and name != "rsum":
            assert value == pytest.approx(1, abs=1e-6), name
    assert found == metrics.baselines()  # seeded
    assert metrics.compute() != {}


def test_random_is_what_random_scores_get(make_batch):
    batch = make_batch(40)
    options = {"recall_ks": (1, 5), "directions": DIRECTIONS, "rank_statistics": True, "extra": every_graded_metric()}
    drawn = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda first, second: torch.rand(len(first), len(second), generator=generator)  # noqa: B023, E731
        drawn.append(batch.feed(RetrievalMetrics(similarity=draw, **options)).compute())
    found = batch.feed(RetrievalMetrics(**options)).baselines()["random"]
    for name, value in found.items():
        values = np.array([float(values[name]) for values in drawn])
        error = values.std() * (1 / 3 + 1 / 30) ** 0.5  # of two means
        assert abs(value - values.mean()) < 4 * error + 1e-6, name


def test_a_sample_of_many_queries_says_enough(make_batch, monkeypatch):
    metrics = make_batch(400).feed(RetrievalMetrics(folds=2))
    sampled = metrics.baselines()
    monkeypatch.setattr(random_and_ideal, "LEAST_QUERIES", 10**6)
    for kind, values in metrics.baselines().items():
        for name, value in values.items():
            if "ndcg" in name or "coherent" in name:
                assert sampled[kind][name] == pytest.approx(value, abs=0.02), name


def test_what_cannot_be_computed_is_left_out(make_batch, tmp_path):
    (tmp_path / "categories.json").write_text('{"1": [1]}')
    batch = make_batch(20)
    batch.text_features = None
    metrics = RetrievalMetrics((1,), extra=[PMRP(tmp_path / "categories.json")], prefix="my_")
    found = batch.feed(metrics).baselines()
    assert list(found["random"]) == ["my_i2t_recall_at_1", "my_t2i_recall_at_1", "my_rsum"]
    assert found["ideal"] == {"my_i2t_recall_at_1": 1, "my_t2i_recall_at_1": 1, "my_rsum": 200}
    with pytest.raises(ValueError, match="update saw no image"):
        RetrievalMetrics().baselines()
    part = RetrievalMetrics((1,), (), (), extra=[RecallAtK(1, "t2t")], folds=7)
    part.update(torch.eye(3), torch.eye(3), [1, 2, 3], [1, 2, 3])
    assert "t2t_recall_at_1" not in part.baselines(partial=True)["random"]


def test_labels_of_a_table(make_batch):
    class Ones:
        label = "everything alike"

        def block(self, image_ids, text_ids):
            return torch.ones(len(image_ids), len(text_ids))

    batch = make_batch(20)
    assert batch.feed(RetrievalMetrics()).baselines(Ones())["random"]["i2t_ndcg_at_10"] == 1
