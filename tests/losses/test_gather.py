"""Two and three processes against one: the same loss, and the same weights after a step."""

from pathlib import Path

import pytest
from worker_processes import assert_same, load, result_of

WORKER = Path(__file__).with_name("gather_worker.py")


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_train_as_one_on_the_whole_batch(world_size, tmp_path):
    worker = load(WORKER)
    expected = worker.train(0, 1)
    assert_same(result_of(WORKER, world_size, tmp_path), expected)
    before = worker.Towers(None).image.weight
    assert all((weights["image.weight"] - before).abs().max() > 1e-4 for weights in expected.values())
