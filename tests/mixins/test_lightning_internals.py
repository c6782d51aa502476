"""Fails as soon as Lightning changes what we use of it beyond its documented interface."""

import importlib

import lightning.pytorch as new_name
import pytest
import pytorch_lightning as old_name
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader

from vse_lightning.mixins.host.lightning_internals import (
    as_compiled,
    is_built_by_cli,
    is_logged_in_training,
    loader_of_loop,
    running_hook,
    trainer_of,
    way_of_combining,
)

BOTH = pytest.mark.parametrize("lightning", [new_name, old_name], ids=["lightning", "pytorch_lightning"])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Watching:
    """Looks at the internals from within its hooks."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.hooks, self.logged = [], []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        self.hooks.append(running_hook(self))
        self.log("train/own", 1.0)
        self.logged.append([is_logged_in_training(self.trainer, name) for name in ("train/own", "train/other")])
        return self.layer(batch).sum()

    def on_before_optimizer_step(self, optimizer):
        self.hooks.append(running_hook(self))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.hooks.append(running_hook(self))


def trainer_in(lightning, folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(
        **quiet, default_root_dir=folder, num_sanity_val_steps=0, enable_checkpointing=False, **options
    )


def loader(rows=4):
    return DataLoader(torch.randn(rows, 3), batch_size=2)


def watching(lightning):
    return type("Watching", (Watching, lightning.LightningModule), {})()


@BOTH
def test_the_module_knows_its_trainer_and_the_hook_it_is_in(lightning, tmp_path):
    model, trainer = watching(lightning), trainer_in(lightning, tmp_path, max_epochs=1)
    assert trainer_of(model) is None
    assert running_hook(model) is None
    trainer.fit(model, loader(2), loader(2))
    assert trainer_of(model) is trainer
    assert model.hooks == ["training_step", "on_before_optimizer_step", "validation_step"]
    assert model.logged == [[True, False]]


@BOTH
def test_the_loaders_of_a_loop(lightning, tmp_path):
    trainer, loaders = trainer_in(lightning, tmp_path), [loader(2), loader(4)]
    trainer.validate(watching(lightning), loaders, verbose=False)
    combined = loader_of_loop(trainer.validate_loop)
    assert combined.flattened == loaders
    assert way_of_combining(combined) == "sequential"
    assert trainer.validate_loop.max_batches == [1, 2]
    assert loader_of_loop(trainer.fit_loop.epoch_loop.val_loop) is None


@BOTH
def test_a_method_is_compiled_as_the_module_is(lightning):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = watching(lightning)
    assert as_compiled(model, torch.square) is torch.square
    compiling = importlib.import_module(f"{lightning.__name__}.utilities.compile")
    model = compiling.from_compiled(torch.compile(model, backend=backend))
    assert as_compiled(model, torch.square)(torch.tensor(3.0)) == 9
    assert len(graphs) == 1


def test_the_command_line_is_told_from_a_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["test"])
    seen = []

    class Module(new_name.LightningModule):
        def __init__(self, width: int = 3):
            super().__init__()
            seen.append(is_built_by_cli(type(self)))

    Module()
    LightningCLI(
        Module,
        run=False,
        args=[],
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults={"logger": False},
    )
    assert seen == [False, True]
