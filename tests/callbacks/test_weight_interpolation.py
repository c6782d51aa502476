"""The mean of the weights before and after: what is validated, logged, saved, and kept through a resumed fit."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.callbacks import WeightInterpolation
from vse_lightning.callbacks.weight_interpolation import interpolated

pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:The dirpath has changed",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:Trying to infer the `batch_size`",
)


class Parabola(LightningModule):
    """Starts at 0, and every step takes it ``lr * 2`` of its way to 1: far beyond, where the rate is large."""

    def __init__(self, lr):
        super().__init__()
        self.place, self.lr, self.seen = nn.Parameter(torch.zeros(1)), lr, []
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return ((self.place - 1) ** 2).sum()

    def validation_step(self, batch, batch_idx):
        self.seen.append(self.place.item())
        self.log("val/error", ((self.place - 1) ** 2).sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def fit(folder, model, callback, epochs=1, path=None, logger=False, checkpoint=None, **arguments):
    loader = DataLoader(TensorDataset(torch.zeros(1)))
    checkpoint = checkpoint or ModelCheckpoint(folder / "best", monitor="val/error", save_last=True)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback, checkpoint],
        logger=logger,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )
    trainer.fit(model, loader, loader, ckpt_path=path, weights_only=None if path is None else True)
    return trainer


def test_the_mean_is_validated_logged_and_saved_where_it_is_better(tmp_path):
    model, callback = Parabola(lr=0.9), WeightInterpolation(0.5)  # to 1.8, whose mean with 0 is 0.9
    logger = CSVLogger(tmp_path)
    trainer = fit(tmp_path, model, callback, logger=logger)
    assert model.place.item() == pytest.approx(1.8)
    assert model.training
    assert callback.values == {"val/error": pytest.approx(0.01)}
    assert trainer.callback_metrics["val/error"] == pytest.approx(0.64)

    assert callback.path.parent.name == "interpolated"
    saved = torch.load(callback.path, weights_only=True)
    torch.testing.assert_close(saved["state_dict"]["place"], torch.tensor([0.9]))
    assert saved["state_dict"]["steps"] == 1

    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()))
    logged = {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}
    assert logged["val/error"] == [pytest.approx(0.64)]
    assert logged["val/interpolated_error"] == [pytest.approx(0.01)]
    loader = DataLoader(TensorDataset(torch.zeros(1)))
    assert trainer.validate(model, loader, ckpt_path=callback.path, verbose=False) == [callback.values]


def test_what_is_not_better_is_not_saved(tmp_path):
    model, callback = Parabola(lr=0.4), WeightInterpolation(0.5)  # to 0.8
    fit(tmp_path, model, callback)
    assert callback.path is None
    assert not (tmp_path / "best" / "interpolated").exists()
    assert callback.values == {"val/error": pytest.approx(0.36)}
    with callback.applied(model):
        assert model.place.item() == pytest.approx(0.4)
    assert model.place.item() == pytest.approx(0.8)


def test_after_is_the_best_checkpoint_and_alpha_its_share(tmp_path):
    model, callback = Parabola(lr=1.1), WeightInterpolation(0.25)  # 2.2, then ever farther away
    fit(tmp_path, model, callback, epochs=3)
    assert model.place.item() > 2.5
    assert model.seen[-1] == pytest.approx(0.25 * 2.2)


def test_the_weights_before_survive_in_a_resumed_fit(tmp_path):
    fit(tmp_path, Parabola(lr=0.7), WeightInterpolation())  # to 1.4
    model, callback = Parabola(lr=0.7), WeightInterpolation()
    nn.init.constant_(model.place, 5.0)
    fit(tmp_path, model, callback, epochs=2, path=tmp_path / "best" / "last.ckpt")
    best = 1 + 0.4 * -0.4
    assert model.place.item() == pytest.approx(best)
    assert callback.values == {"val/error": pytest.approx((1 - best / 2) ** 2)}


def test_complex_weights_are_weights(tmp_path):
    model, callback = Parabola(lr=0.9), WeightInterpolation()
    model.place = nn.Parameter(torch.zeros(1, dtype=torch.complex64))
    model.training_step = lambda batch, batch_idx: (model.place - 1j).abs().square().sum()  # to 1.8 j
    model.validation_step = lambda batch, batch_idx: model.log("val/error", (model.place - 1j).abs().square().sum())
    fit(tmp_path, model, callback)
    assert callback.values == {"val/error": pytest.approx(0.01)}


def test_a_checkpoint_written_after_the_fit_knows_them_too(tmp_path):
    trainer = fit(tmp_path, Parabola(lr=0.7), WeightInterpolation())
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert torch.load(tmp_path / "after.ckpt", weights_only=True)["vse_lightning_weights_before"]["place"].item() == 0


def test_what_has_not_changed_is_not_written_twice(tmp_path):
    model, callback = Parabola(lr=0.7), WeightInterpolation()
    model.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    fit(tmp_path, model, callback)
    written = torch.load(tmp_path / "best" / "last.ckpt", weights_only=True)
    assert written["vse_lightning_weights_before"] == {"place": torch.zeros(1)}


class Leaving(Parabola):
    """Leaves out of its checkpoints what it does not learn, as people do with large backbones."""

    def __init__(self, lr):
        super().__init__(lr)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.strict_loading = False

    def on_save_checkpoint(self, checkpoint):
        del checkpoint["state_dict"]["frozen"]


def test_a_host_may_leave_frozen_weights_out_of_its_checkpoints(tmp_path):
    callback = WeightInterpolation()
    fit(tmp_path, Leaving(lr=0.9), callback)
    assert callback.values == {"val/error": pytest.approx(0.01)}
    assert set(torch.load(callback.path, weights_only=True)["state_dict"]) == {"place", "steps"}
    callback = WeightInterpolation()
    fit(tmp_path, Leaving(lr=0.9), callback, epochs=2, path=tmp_path / "best" / "last.ckpt")
    assert callback.values == {"val/error": pytest.approx(0.82**2)}  # half of the way to 0.36


def test_a_fit_without_it_does_not_know_the_weights_before(tmp_path):
    fit(tmp_path, Parabola(lr=0.7), ModelCheckpoint(tmp_path / "other"))
    with pytest.raises(ValueError, match="the weights before fine-tuning, which the checkpoint"):
        fit(tmp_path, Parabola(lr=0.7), WeightInterpolation(), 2, tmp_path / "best" / "last.ckpt")


def test_something_must_say_which_weights_are_better(tmp_path):
    with pytest.raises(ValueError, match=r"ModelCheckpoint\(monitor=...\), .* got one without monitor"):
        fit(tmp_path, Parabola(lr=0.7), WeightInterpolation(), checkpoint=ModelCheckpoint(tmp_path))
    remote = ModelCheckpoint("memory://best", monitor="val/error")
    with pytest.raises(ValueError, match="needs checkpoints in a folder of this machine, got memory://best"):
        fit(tmp_path, Parabola(lr=0.7), WeightInterpolation(), checkpoint=remote)
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], got 1.5"):
        WeightInterpolation(1.5)
    fit(tmp_path, Parabola(lr=0.7), WeightInterpolation(), fast_dev_run=True)


def test_adapters_make_a_share_of_their_change(tmp_path):
    first, second = torch.randn(2, 6), torch.randn(5, 2)
    before = {"q.lora_A.default.weight": torch.randn(2, 6), "q.lora_B.default.weight": torch.zeros(5, 2)}
    mean = interpolated(before, dict(zip(before, (first, second), strict=True)), 0.3)
    torch.testing.assert_close(mean["q.lora_B.default.weight"] @ mean["q.lora_A.default.weight"], 0.3 * second @ first)

    model = Parabola(lr=0.7)
    model.lora_magnitude_vector = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="change nothing at first and are sums, got lora_magnitude_vector"):
        fit(tmp_path, model, WeightInterpolation())
