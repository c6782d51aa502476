"""Hosts that look like other people's, in two processes: the loss and the metrics of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from host_worker import logged
from integrations import INTEGRATIONS

WORKER = Path(__file__).with_name("host_worker.py")


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory):
    output = tmp_path_factory.mktemp("two") / "logged.json"
    command = [sys.executable, "-W", "ignore", str(WORKER), str(output), "2", "12"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    subprocess.run(command, check=True, timeout=400, env=environment)
    return json.loads(output.read_text())


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Trying to infer the `batch_size`")
def test_two_processes_log_what_one_does(integration, in_two_processes, tmp_path):
    # the first step is the whole data, whichever process has which part of it
    assert integration.host.__name__ in in_two_processes
    two = in_two_processes[integration.host.__name__]
    assert sum("recall" in name for name in two) == 4
    one = logged(integration, tmp_path, 1, 24)
    if integration.draws or integration.normalises:  # each process its share, with numbers of its own
        two.pop("train/relevance_loss"), one.pop("train/relevance_loss")
    assert two == {name: pytest.approx(value, rel=1e-5) for name, value in one.items()}


def test_every_host_was_run(in_two_processes):
    assert in_two_processes.keys() - {"repeats"} == INTEGRATIONS.keys()


def test_repeats_that_ids_do_not_show_are_told_once(in_two_processes):
    repeats = in_two_processes["repeats"]
    for case in ("no ids", "no text ids"):
        (message,) = repeats[case]
        assert "repeats 1 items to fill up its 2 processes" in message
    assert repeats["text ids"] == repeats["even"] == []
