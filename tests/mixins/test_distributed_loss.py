"""Two and three processes against one: the same weights, for every loss, within a modality and with a queue too."""

from pathlib import Path

import pytest
from worker_processes import assert_same, load, result_of

WORKER = Path(__file__).with_name("ddp_worker.py")


@pytest.mark.parametrize("world_size", [2, 3])
def test_weights_equal_those_of_one_process(world_size, tmp_path):
    worker = load(WORKER)
    expected = worker.weights_after_training(0, 1)
    assert_same(result_of(WORKER, world_size, tmp_path), expected)
    before = worker.Retriever("table").image.weight
    assert all((weights["image.weight"] - before).abs().max() > 1e-4 for weights in expected.values())
