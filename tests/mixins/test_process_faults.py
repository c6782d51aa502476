"""Two real processes of which one has less, fails or is killed: both end, and say why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("fault_worker.py")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    output = tmp_path_factory.mktemp("faults") / "ended.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    subprocess.run([sys.executable, "-W", "ignore", str(WORKER), str(output)], check=True, timeout=900, env=environment)
    return json.loads(output.read_text())


@pytest.mark.parametrize(
    "case", ["none", "fewer batches of validation", "no fault of a stream", "no fault of a stream of validation"]
)
def test_what_is_no_fault_trains(ended, case):
    assert [process["code"] for process in ended[case]] == [0, 0], ended[case]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("fewer batches", "got 4 and 3: let the Trainer share the data"),
        ("fewer batches and buffers", "got 4 and 3: let the Trainer share the data"),
        ("fewer batches of a stream", "but after 3 there are no more in process 1: let the Trainer share the data"),
        ("no batch of validation", "every process must have a batch of validation, or none, got 2 and 0"),
    ],
)
def test_different_numbers_of_batches_are_one_message_in_all_processes(ended, fault, message):
    for process in ended[fault]:
        assert process["code"] == 1
        assert "ValueError: every process must have " in process["said"]
        assert message in process["said"]


@pytest.mark.parametrize(
    ("fault", "failing", "cause"),
    [
        ("no batch", 1, "ValueError: every process must have as many training batches as the others, got none in this"),
        ("an error in the second", 1, "KeyError: 'the cause'"),
        ("an error in the first", 0, "KeyError: 'the cause'"),
        ("a kill", 1, ""),
    ],
)
def test_a_process_that_fails_takes_the_other_down(ended, fault, failing, cause):
    codes = [process["code"] for process in ended[fault]]
    assert codes[failing] == (-9 if fault == "a kill" else 1)
    assert codes[1 - failing] == 1
    assert cause in ended[fault][failing]["said"]
    assert "Connection" in ended[fault][1 - failing]["said"]  # of gloo, which points to the other
