"""Two and three processes against one: the same weights, for every loss, within a modality and with a queue too."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("ddp_worker.py")


def load_worker():
    spec = importlib.util.spec_from_file_location("ddp_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("world_size", [2, 3])
def test_weights_equal_those_of_one_process(world_size, tmp_path):
    output = tmp_path / "weights.pt"
    arguments = [str(world_size), str(tmp_path / "rendezvous"), str(output)]
    command = [sys.executable, "-W", "ignore", str(WORKER)]
    processes = [subprocess.Popen([*command, str(rank), *arguments]) for rank in range(world_size)]
    assert [process.wait(timeout=240) for process in processes] == [0] * world_size
    expected = load_worker().weights_after_training(0, 1)
    found = torch.load(output, weights_only=True)
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        for key, value in weights.items():
            torch.testing.assert_close(found[name][key], value, rtol=1e-4, atol=2e-6, msg=f"{name}: {key}")
    changed = load_worker().Retriever("table").image.weight
    assert all((weights["image.weight"] - changed).abs().max() > 1e-4 for weights in expected.values())
