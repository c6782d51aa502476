"""Other people's modules, trained on through the command: the rates of the user, the moments of the checkpoint."""

import warnings
from typing import ClassVar

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.cli import main

STEPS = 3
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:Consider setting `persistent_workers",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You defined a `validation_step`",
    "ignore::DeprecationWarning",
    "ignore:The dirpath has changed",
    "ignore:The number of training batches",
)


class Pairs(LightningDataModule):
    def train_dataloader(self):
        draw = torch.Generator().manual_seed(0)
        return DataLoader(TensorDataset(torch.rand(4 * STEPS, 5, generator=draw)), batch_size=4)


class Host(LightningModule):
    """Chooses its rate in ``configure_optimizers``, keeps no hyper-parameters, knows nothing of us."""

    def __init__(self, lr: float = 0.1, momentum: float = 0.9, gamma: float | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.lr, self.momentum, self.gamma = lr, momentum, gamma
        self.layer = torch.nn.Linear(5, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)
        if self.gamma is None:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, self.gamma)]


class DecaysByHand(Host):
    def on_train_epoch_end(self):
        for group in self.optimizers().param_groups:
            group["lr"] *= 0.5


class TwoOptimizers(Host):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD([p], lr=self.lr) for p in self.parameters()]


class Followed(Callback):
    """Rates of each step; momentum before the first, weights after the last."""

    runs: ClassVar[list["Followed"]] = []

    def __init__(self):
        self.rates, self.moments, self.weights = [], None, None
        self.runs.append(self)

    def on_train_batch_start(self, trainer, *args):
        optimizer = trainer.optimizers[0]
        if not self.rates:
            self.moments = [state["momentum_buffer"].clone() for state in optimizer.state.values() if state]
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_end(self, trainer, module):
        self.weights = module.layer.weight.detach().clone()


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(epochs, *args, host="Host", folder="other", checkpoint=None):
        of_trainer = {"accelerator": "cpu", "logger": "false", "enable_progress_bar": "false", "max_epochs": epochs}
        of_trainer |= {"callbacks+": f"{__name__}.Followed"}
        options = ["--seed_everything=0", *(f"--trainer.{name}={value}" for name, value in of_trainer.items())]
        options += ["--trainer.callbacks+=ModelCheckpoint", f"--trainer.callbacks.dirpath={folder}"]
        options += ["--trainer.callbacks.filename=last", *([] if checkpoint is None else [f"--ckpt_path={checkpoint}"])]
        main(["fit", f"--model={__name__}.{host}", f"--data={__name__}.Pairs", *options, *args])
        return Followed.runs[-1]

    return run


SAVED = "saved/last.ckpt"


def moments(path=SAVED):
    state = torch.load(path, weights_only=True)["optimizer_states"][0]["state"]
    return [state[number]["momentum_buffer"] for number in sorted(state)]


def test_the_rate_of_the_user_counts_and_is_said(fit, capsys, caplog):
    fit(2, folder="saved")
    with caplog.at_level("INFO"):
        followed = fit(4, "--model.lr=0.03", "--model.momentum=0.5", checkpoint=SAVED)
    assert followed.rates == 2 * STEPS * [0.03]
    torch.testing.assert_close(followed.moments, moments(), rtol=0, atol=0)
    assert "optimizer, lr: 0.1 in the checkpoint, 0.03 now" in caplog.text
    assert "optimizer, momentum: 0.9 in the checkpoint, 0.5 now" in caplog.text


def test_rates_of_a_schedule_are_those_of_the_present_one(fit):
    fit(2, "--model.gamma=0.5", folder="saved")
    expected = fit(4, "--model.gamma=0.1", "--model.lr=0.2").rates
    rates = fit(4, "--model.gamma=0.1", "--model.lr=0.2", checkpoint=SAVED).rates
    assert rates == pytest.approx(expected[2 * STEPS :])


@pytest.mark.parametrize("host", ["Host", "DecaysByHand", "TwoOptimizers"])
def test_the_same_configuration_goes_on_as_if_nothing_had_happened(fit, host, caplog):
    whole = fit(4, host=host)
    fit(2, host=host, folder="saved")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the checkpoint")
        followed = fit(4, host=host, checkpoint=SAVED)
    assert followed.rates == whole.rates[2 * STEPS :]
    assert torch.equal(followed.weights, whole.weights)
    assert "in the checkpoint" not in caplog.text


def test_rates_that_a_module_changes_by_hand_change_in_proportion(fit):
    fit(2, host="DecaysByHand", folder="saved")
    rates = fit(4, "--model.lr=0.2", host="DecaysByHand", checkpoint=SAVED).rates
    halved = torch.load(SAVED, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
    assert halved < 0.1
    assert rates == pytest.approx(STEPS * [2 * halved] + STEPS * [halved])


def test_with_several_optimizers_the_rates_of_the_checkpoint_stay_with_a_warning(fit):
    fit(2, host="TwoOptimizers", folder="saved")
    stays = r"steps its optimizers by itself, .* stay: optimizer 0, lr: 0.1 in the checkpoint, 0.3 now; optimizer 1, lr"
    with pytest.warns(UserWarning, match=stays):
        followed = fit(4, "--model.lr=0.3", host="TwoOptimizers", checkpoint=SAVED)
    assert followed.rates == 2 * STEPS * [0.1]


def test_a_checkpoint_of_another_program_keeps_its_rates_with_a_warning(fit):
    fit(2, folder="saved")
    checkpoint = torch.load(SAVED, weights_only=True)
    del checkpoint["retriever_optimizer"]
    torch.save(checkpoint, "foreign.ckpt")
    with pytest.warns(UserWarning, match=r"does not say how .*: lr is 0.1, your configuration says 0.3"):
        followed = fit(4, "--model.lr=0.3", checkpoint="foreign.ckpt")
    assert followed.rates == 2 * STEPS * [0.1]
