"""Two and three processes against one: uneven shares, one without any update, a repeated image."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("ddp_worker.py")


def load_worker():
    spec = importlib.util.spec_from_file_location("metrics_ddp_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def alone():
    return {}


@pytest.mark.parametrize("world_size", [2, 3])
def test_values_equal_those_of_one_process(make_batch, world_size, tmp_path):
    batch = vars(make_batch(300, distinct=250))
    torch.save(batch, tmp_path / "batch.pt")
    arguments = [str(world_size), *(str(tmp_path / name) for name in ("rendezvous", "batch.pt", "values.pt"))]
    command = [sys.executable, "-W", "ignore", str(WORKER)]
    processes = [subprocess.Popen([*command, str(rank), *arguments]) for rank in range(world_size)]
    assert [process.wait(timeout=240) for process in processes] == [0] * world_size
    everywhere = torch.load(tmp_path / "values.pt", weights_only=True)
    expected = load_worker().values_of_all(batch, 0, 1)
    for found, _ in everywhere:
        assert found.keys() == expected.keys()
        for case, values in expected.items():
            for name, value in values.items():
                torch.testing.assert_close(found[case][name], value, rtol=1e-6, atol=1e-6, msg=f"{case}: {name}")
    rows = [scored for _, scored in everywhere]
    assert max(rows) < 1.5 * min(rows)  # also the process without data has done its share


def test_shares_cover_everything_in_order():
    from vse_lightning.metrics.workers import Workers

    for count in (1, 2, 3, 7):
        shares = [Workers(rank, count).share(range(10)) for rank in range(count)]
        assert [item for share in shares for item in share] == list(range(10))
