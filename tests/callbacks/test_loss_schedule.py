"""A weight that moves over the epochs, also in a run that was resumed within one."""

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vse_lightning.callbacks import LossSchedule
from vse_lightning.losses import ContrastiveLoss, TripletLoss, WeightedSumLoss
from vse_lightning.mixins import RelevanceLossMixin

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:You're resuming from a checkpoint",
    "ignore:Be aware that when using `ckpt_path`",
)


class Retriever(RelevanceLossMixin, LightningModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(0)
        self.image, self.text, self.seen = nn.Linear(4, 3), nn.Linear(4, 3), []

    def retrieval_embeds(self, batch):
        return self.image(batch[0]), self.text(batch[1])

    def on_train_batch_end(self, outputs, batch, batch_idx):
        loss = self.relevance_loss
        self.seen.append((self.relevance_weight, dict(getattr(loss, "weights", {}))))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def both():
    return WeightedSumLoss({"a": TripletLoss(), "b": TripletLoss(mining="soft")}, {"a": 1.0, "b": 0.3})


def fit(tmp_path, model, callbacks, path=None, **arguments):
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(16, 4, generator=generator), torch.randn(16, 4, generator=generator))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "default_root_dir": tmp_path, "callbacks": callbacks}
    trainer = Trainer(**{**quiet, **arguments})
    trainer.fit(model, DataLoader(data, batch_size=4), ckpt_path=path, weights_only=None if path is None else True)
    return trainer


def test_a_term_moves_step_by_step_and_stays(tmp_path):
    model = Retriever(relevance_loss=both())
    fit(tmp_path, model, [LossSchedule("b", start=0.0, end=1.0, epochs=2)], max_epochs=3)
    assert [weights["b"] for _, weights in model.seen] == [step / 8 for step in range(8)] + [1.0] * 4
    assert {weights["a"] for _, weights in model.seen} == {1.0}


def test_the_whole_loss_and_a_term_at_once(tmp_path):
    model = Retriever(relevance_loss=both())
    callbacks = [LossSchedule("relevance_weight", start=0.0, end=2.0, epochs=1), LossSchedule("a", 1.0, 0.0, 1)]
    fit(tmp_path, model, callbacks, max_epochs=1)
    assert model.seen == [(step / 2, {"a": 1 - step / 4, "b": 0.3}) for step in range(4)]


def test_a_resumed_run_goes_on_within_an_epoch(tmp_path):
    whole = Retriever(relevance_loss=both())
    fit(tmp_path, whole, [LossSchedule("b", 0.0, 1.0, 2)], max_epochs=2)
    first, saving = Retriever(relevance_loss=both()), ModelCheckpoint(tmp_path, "middle", every_n_train_steps=6)
    callbacks = [LossSchedule("b", 0.0, 1.0, 2), saving]
    fit(tmp_path, first, callbacks, max_epochs=2, max_steps=6, enable_checkpointing=True)
    second = Retriever(relevance_loss=both())
    fit(tmp_path, second, [LossSchedule("b", 0.0, 1.0, 2)], path=tmp_path / "middle.ckpt", max_epochs=2)
    assert first.seen + second.seen == whole.seen


def test_a_term_that_is_not_there_is_named_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"a loss of the module's WeightedSumLoss \(a, b\), got 'c'"):
        fit(tmp_path, Retriever(relevance_loss=both()), [LossSchedule("c", 0, 1, 1)], max_epochs=1)
    with pytest.raises(ValueError, match=r"\(it has a ContrastiveLoss\), got 'a'"):
        fit(tmp_path, Retriever(relevance_loss=ContrastiveLoss()), [LossSchedule("a", 0, 1, 1)], max_epochs=1)
    with pytest.raises(ValueError, match="end must be a finite number of at least 0, got -1"):
        LossSchedule("a", 0, -1, 1)
