"""Two processes, whole or sharded weights, in chunks or not: the weights of one process after a step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from worker_processes import load

pytest.importorskip("PIL")
pytest.importorskip("transformers")

WORKER = Path(__file__).with_name("processes_worker.py")
pytestmark = pytest.mark.filterwarnings("ignore:Found .* module\\(s\\) in eval mode")


@pytest.fixture(scope="module")
def of_two(tiny_clip, tmp_path_factory):
    output = tmp_path_factory.mktemp("two") / "found.pt"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-W", "ignore", str(WORKER), str(tiny_clip), str(output)]
    subprocess.run(command, check=True, timeout=240, env=environment)
    return torch.load(output, weights_only=True)


def test_they_learn_what_one_does_also_with_sharded_weights_and_in_chunks(of_two, tiny_clip):
    worker = load(WORKER)
    expected = worker.weights_after_a_step(tiny_clip, "auto", None, processes=1)
    before = worker.CLIPRetriever(str(tiny_clip)).backbone.model.state_dict()
    assert max((weight - before[name]).abs().max() for name, weight in expected.items()) > 0.01
    for case in worker.CASES:
        for name, weight in expected.items():
            torch.testing.assert_close(of_two[case][name], weight, rtol=1e-4, atol=1e-5, msg=f"{case}: {name}")


def test_they_make_the_mean_of_weights_that_one_makes(of_two, tmp_path):
    of_one = load(WORKER).interpolated(tmp_path, processes=1)
    assert of_two["interpolated"] == of_one
    assert of_one["saved"].item() == pytest.approx(1.8)
