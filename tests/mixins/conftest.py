import sys
from pathlib import Path

import pytest
from lightning import Trainer

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def trainer(tmp_path):
    """Make a quiet trainer on the CPU."""

    def make(**kwargs):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path}
        return Trainer(**{**quiet, "log_every_n_steps": 1, **kwargs})

    return make
