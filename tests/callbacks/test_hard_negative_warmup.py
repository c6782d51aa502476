"""Hardest negatives from scratch collapse; a warm-up epoch on all negatives prevents it."""

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.callbacks import HardNegativeWarmup
from vse_lightning.losses import KendallLoss, LadderLoss, LSEHLoss, TripletLoss, WeightedSumLoss
from vse_lightning.mixins import RelevanceLossMixin


class Retriever(RelevanceLossMixin, LightningModule):
    """Two deep towers on two views of the same hidden vector."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(0)
        self.image, self.text = tower(), tower()
        self.minings = []

    def retrieval_embeds(self, batch):
        return self.image(batch[0]), self.text(batch[1])

    def on_train_batch_start(self, batch, batch_idx):
        self.minings += [loss.mining for loss in self.relevance_loss.modules() if hasattr(loss, "mining")]

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def tower():
    layers = [nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 32)]
    return nn.Sequential(*layers)


def views():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(512, 32, generator=generator)
    mixing = torch.randn(2, 32, 32, generator=generator)
    noise = torch.randn(2, 512, 32, generator=generator)
    images, texts = (hidden @ mix + 2 * n for mix, n in zip(mixing, noise, strict=True))
    return DataLoader(TensorDataset(images, texts), batch_size=128, shuffle=True)


def fit(loss, callbacks, epochs):
    model = Retriever(relevance_loss=loss)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=epochs, callbacks=callbacks, logger=False, accelerator="cpu", **quiet)
    torch.manual_seed(1)
    trainer.fit(model, views())
    return model, trainer.callback_metrics["train/loss"].item()


def test_all_then_hardest_then_as_configured():
    loss = WeightedSumLoss({"a": TripletLoss(), "b": TripletLoss(mining="soft")}, {"a": 1.0, "b": 0.0})
    model, _ = fit(loss, [HardNegativeWarmup(epochs=2)], epochs=3)
    assert model.minings == ["all", "soft"] * 8 + ["hardest", "soft"] * 4
    assert loss.losses["a"].mining == "hardest"
    model, _ = fit(loss, [HardNegativeWarmup(epochs=2)], epochs=1)  # over before the warm-up is
    assert loss.losses["a"].mining == "hardest"


@pytest.mark.parametrize("mines", [LSEHLoss, LadderLoss])
def test_every_loss_that_mines_warms_up_and_others_are_left_alone(mines):
    mining = mines()
    callback = HardNegativeWarmup()
    model = Retriever(relevance_loss=WeightedSumLoss({"a": mining, "b": KendallLoss()}, {"a": 1.0, "b": 1.0}))
    trainer = Trainer(max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False)
    callback.on_train_epoch_start(trainer, model)
    assert mining.mining == "all"
    callback.on_exception(trainer, model, RuntimeError())
    assert mining.mining == "hardest"


def test_epochs_are_whole_numbers():
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, got 0"):
        HardNegativeWarmup(epochs=0)


def test_warm_up_prevents_the_collapse_at_the_margin():
    _, collapsed = fit(TripletLoss(margin=0.2), [], epochs=10)
    _, warmed = fit(TripletLoss(margin=0.2), [HardNegativeWarmup(epochs=5)], epochs=10)
    assert collapsed > 0.19  # every hinge rests at the margin
    assert warmed < 0.05


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:Checkpoint directory")
def test_a_run_that_is_resumed_within_the_warm_up_goes_on_warming(tmp_path):
    runs = []
    for steps, path in ((2, None), (8, tmp_path / "middle.ckpt")):
        model = Retriever(relevance_loss=TripletLoss())
        callbacks = [HardNegativeWarmup(), ModelCheckpoint(tmp_path, "middle", every_n_train_steps=2)]
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        trainer = Trainer(max_epochs=2, max_steps=steps, callbacks=callbacks, **quiet)
        trainer.fit(model, views(), ckpt_path=path, weights_only=None if path is None else True)
        runs.append(model.minings)
    assert runs == [["all"] * 2, ["all"] * 2 + ["hardest"] * 4]
