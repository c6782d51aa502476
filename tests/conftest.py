"""What holds for all tests."""

import os
import sys
from pathlib import Path

import pytest

# No test may depend on the network, or wait for it: the hub's client would retry for half a minute.
os.environ["HF_HUB_OFFLINE"] = "1"
# Small tensors gain nothing from threads, and a process forked after PyTorch has used several hangs.
os.environ["OMP_NUM_THREADS"] = "1"
# What several rooms of tests use.
sys.path.insert(0, str(Path(__file__).parent / "shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in two processes where pytest-xdist is installed: it is mostly one thread at a time."""
    whole_suite = config.args_source is not pytest.Config.ArgsSource.ARGS
    free_to_choose = getattr(config.option, "numprocesses", 0) is None and not config.option.usepdb
    if whole_suite and free_to_choose and "PYTEST_XDIST_WORKER" not in os.environ:
        config.option.numprocesses = 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that want real data: ``pytest -m data`` runs them alone."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real captions, features and pictures, which is no part of the project."""
    folder = os.environ.get("VSE_DATA")
    if not folder:
        pytest.skip("VSE_DATA names no folder of real data")
    return Path(folder)
