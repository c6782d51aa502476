"""The batches of a run and their augmentation: functions of (seed, epoch, text row)."""

import random

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from vse_lightning.data import ImageTextDataModule, ShapesSource

pytest.importorskip("PIL")

KINDS = ["random", "distinct", "similar"]


class Noise:
    """An augmentation that draws from the generators of three libraries."""

    def __call__(self, picture):
        return torch.tensor([torch.rand(()), random.random(), np.random.rand()], dtype=torch.float32)  # noqa: NPY002


class Host(LightningModule):
    """Remembers its batches by epoch; draws from the global generators as dropout would."""

    def __init__(self, folder=None):
        super().__init__()
        self.layer, self.folder, self.epochs = nn.Linear(1, 1), folder, {}

    def training_step(self, batch, batch_idx):
        self.epochs.setdefault(self.current_epoch, []).append((batch["text_ids"].tolist(), batch["image"].tolist()))
        torch.rand(1 + batch_idx)
        return self.layer(batch["image"].mean().view(1, 1)).sum()

    def validation_step(self, batch):
        torch.rand(3)

    def on_fit_end(self):
        if self.folder is not None:
            torch.save(self.epochs, self.folder / f"{self.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture(scope="module")
def source():
    return ShapesSource(40, image_size=32)


@pytest.fixture
def fit(source, tmp_path):
    """Fit and return what each process saw: batches by epoch."""

    def run(batches="random", num_workers=0, *, seed=0, by_hand=False, ckpt_path=None, **options):
        torch.manual_seed(seed)
        data = ImageTextDataModule(
            source, "source", batch_size=16, num_workers=num_workers, batches=batches, transforms=Noise()
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        options = {"max_epochs": 2, "enable_checkpointing": False, "devices": 1} | quiet | options
        trainer, module = Trainer(default_root_dir=tmp_path, **options), Host(tmp_path)
        if by_hand:
            data.setup("fit")
            trainer.fit(module, data.train_dataloader(), data.val_dataloader())
        else:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return [torch.load(tmp_path / f"{rank}.pt") for rank in range(options["devices"])]

    return run


def rows(batches):
    return [row for text_ids, _ in batches for row in text_ids]


@pytest.mark.parametrize("batches", KINDS)
def test_order_and_augmentation_are_the_same_whatever_else_draws(fit, batches):
    first = fit(batches)[0]
    assert sorted(rows(first[0])) == sorted(rows(first[1])) == list(range(160))
    assert rows(first[0]) != rows(first[1])
    assert fit(batches, num_workers=2, num_sanity_val_steps=0) == [first]
    assert fit(batches, limit_val_batches=0, reload_dataloaders_every_n_epochs=1, num_workers=1) == [first]
    assert fit(batches, seed=1) != [first]


def test_augmentation_changes_with_the_epoch_and_belongs_to_the_caption(fit):
    drawn = [
        {row: image for text_ids, images in batches for row, image in zip(text_ids, images, strict=True)}
        for batches in fit()[0].values()
    ]
    assert not any(drawn[0][row] == drawn[1][row] for row in range(160))
    distinct = fit("distinct")[0]
    for text_ids, images in distinct[1]:  # another order, the same pictures
        assert images == [drawn[1][row] for row in text_ids]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_leave_the_global_generators_alone(source, num_workers):
    data = ImageTextDataModule(source, "source", batch_size=16, num_workers=num_workers, transforms=Noise())
    data.setup("fit")

    def state():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002

    before = state()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert len(list(loader)) > 0
    assert state() == before


def test_a_loop_without_lightning_has_another_order_in_each_epoch(source):
    data = ImageTextDataModule(source, batch_size=16, num_workers=0, transforms=Noise())
    loader = data.train_dataloader()
    epochs = [[batch["text_ids"].tolist() for batch in loader] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_evaluation_augments_alike_every_time(source):
    data = ImageTextDataModule(source, num_workers=0, transforms=Noise())
    first, second = (torch.cat([batch["image"] for batch in data.val_dataloader()]) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
@pytest.mark.parametrize(("devices", "strategy"), [(1, "auto"), (2, "ddp_fork")])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_epochs_are_those_of_the_run(fit, tmp_path, num_workers, devices, strategy):
    saved = ModelCheckpoint(tmp_path / "saved", "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    options = {"devices": devices, "strategy": strategy, "max_epochs": 3, "num_workers": num_workers}
    whole = fit("distinct", **options, enable_checkpointing=True, callbacks=[saved])
    resumed = fit("distinct", **options, ckpt_path=tmp_path / "saved" / "epoch=0.ckpt")
    for seen, again in zip(whole, resumed, strict=True):
        assert again == {epoch: seen[epoch] for epoch in (1, 2)}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batches", KINDS)
def test_overfit_batches_repeats_its_batches(fit, batches, num_workers):
    (seen,) = fit(batches, num_workers, overfit_batches=3, max_epochs=3, reload_dataloaders_every_n_epochs=2)
    assert len(seen[0]) == 3
    assert seen[0] == seen[1] == seen[2]
    assert len(set(rows(seen[0]))) == 48
    assert rows(seen[0]) != sorted(rows(seen[0]))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("batches", KINDS)
def test_two_processes_see_every_pair_once_in_an_epoch(fit, batches):
    processes = fit(batches, devices=2, strategy="ddp_fork")
    for epoch in range(2):
        assert sorted(rows(processes[0][epoch]) + rows(processes[1][epoch])) == list(range(160))
    assert processes[0][0] != processes[0][1]
    assert fit(batches, devices=2, strategy="ddp_fork", num_workers=1) == processes


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("by_hand", [False, True])
def test_two_processes_together_see_the_batches_of_one(fit, source, monkeypatch, by_hand):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # then Lightning's sampler has the seed 0
    processes = fit(devices=2, strategy="ddp_fork", by_hand=by_hand)
    data = ImageTextDataModule(source, batch_size=32, num_workers=0)
    torch.manual_seed(0)
    loader = data.train_dataloader()
    for epoch in range(2):
        alone = [set(batch["text_ids"].tolist()) for batch in loader]
        both = zip(processes[0][epoch], processes[1][epoch], strict=True)
        assert [{*first, *second} for (first, _), (second, _) in both] == alone


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("batches", KINDS)
def test_two_processes_repeat_the_batches_that_they_overfit(fit, batches):
    processes = fit(batches, devices=2, strategy="ddp_fork", overfit_batches=2)
    for seen in processes:
        assert len(seen[0]) == 2
        assert seen[0] == seen[1]
    assert not set(rows(processes[0][0])) & set(rows(processes[1][0]))
