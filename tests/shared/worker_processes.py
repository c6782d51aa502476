"""Scripts ``python WORKER RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE`` that form a group of processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch


def load(worker):
    """The script as a module, to run its work in this process alone."""
    spec = importlib.util.spec_from_file_location(worker.stem, worker)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result_of(worker, world_size, folder):
    """What the first of ``world_size`` processes saves."""
    output = folder / "result.pt"
    arguments = [str(world_size), str(folder / "rendezvous"), str(output)]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "ignore", str(worker)]
    processes = [subprocess.Popen([*command, str(rank), *arguments], env=environment) for rank in range(world_size)]
    assert [process.wait(timeout=240) for process in processes] == [0] * world_size
    return torch.load(output, weights_only=True)


def assert_same(found, expected):
    """Tensors by name, by what was done."""
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(found[name][key], tensor, rtol=1e-4, atol=2e-6, msg=f"{name}: {key}")
