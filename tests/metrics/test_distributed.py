"""Three processes, and two of them, against one: uneven shares, one without any update, a repeated image."""

import multiprocessing
import runpy
from pathlib import Path

import torch

WORKER = Path(__file__).with_name("ddp_worker.py")


def test_values_equal_those_of_one_process(make_batch, tmp_path):
    batch = vars(make_batch(300, distinct=250))
    torch.save(batch, tmp_path / "batch.pt")
    files = [str(tmp_path / name) for name in ("rendezvous", "batch.pt", "values.pt")]
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["vse_lightning.metrics"])  # imported once for all
    processes = [
        server.Process(target=runpy.run_path, args=(str(WORKER), {"arguments": (rank, 3, *files)}, "__main__"))
        for rank in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    assert [process.exitcode for process in processes] == [0] * 3
    everywhere = torch.load(tmp_path / "values.pt", weights_only=True)
    expected = runpy.run_path(str(WORKER))["values_of_all"](batch)
    of_all, of_two = zip(*(found for found, _ in everywhere[:2]), strict=True)
    for found in (*of_all, *everywhere[2][0], *of_two):
        assert found.keys() == expected.keys()
        for case, values in expected.items():
            for name, value in values.items():
                torch.testing.assert_close(found[case][name], value, rtol=1e-6, atol=1e-6, msg=f"{case}: {name}")
    assert expected["restarting ids"]["refused"]
    rows = [scored for _, scored in everywhere]
    assert max(rows) < 1.5 * min(rows)  # also the process without data has done its share
