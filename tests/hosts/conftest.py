import sys
from pathlib import Path

import lightning
import pytest
import pytorch_lightning
import torch

sys.path.insert(0, str(Path(__file__).parent))

from integrations import INTEGRATIONS


@pytest.fixture(params=INTEGRATIONS)
def integration(request):
    """One host after the other."""
    return INTEGRATIONS[request.param]


@pytest.fixture
def trainer(tmp_path, integration):
    """Make a quiet trainer of the host's own Lightning, on the CPU."""
    old = issubclass(integration.host, pytorch_lightning.LightningModule)

    def make(**kwargs):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        quiet |= {"enable_checkpointing": False, "max_epochs": 1, "num_sanity_val_steps": 0}
        trainer = (pytorch_lightning if old else lightning).Trainer
        return trainer(**{**quiet, "default_root_dir": tmp_path, "log_every_n_steps": 1, **kwargs})

    return make


@pytest.fixture
def make(integration):
    """Make the host alone, or with the mixins, from the same seed."""

    def made(**arguments):
        torch.manual_seed(1)
        return (integration.mixed if arguments else integration.host)(**arguments)

    return made
