"""Training that stops in the middle of an epoch and goes on is the same training."""

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.callbacks import HardNegativeWarmup
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import TripletLoss
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


class Dropped(GRUTextEncoder):
    """Draws from the global generator at every step."""

    def forward(self, *args, **kwargs):
        return torch.nn.functional.dropout(super().forward(*args, **kwargs), 0.3, self.training)


class StoppedError(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            raise StoppedError


def trained(folder, *, stop=None, resume=None, workers=0, limit=1.0):
    seed_everything(3 if resume is None else 4)  # what goes on does not know what was drawn before
    image = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
    model = DualEncoder(image, Dropped(word_dim=8, embed_dim=8, min_count=1), TripletLoss(), lr_warmup_steps=6)
    seed_everything(3)
    data = ImageTextDataModule(ShapesSource(num_images=30, image_size=32), batch_size=16, num_workers=workers)
    saves = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [saves, HardNegativeWarmup(2), *([] if stop is None else [StopAt(stop)])]
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, callbacks=callbacks, limit_val_batches=0,
        limit_train_batches=limit, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    try:
        trainer.fit(model, data, ckpt_path=resume)
    except StoppedError:
        return None
    return model.state_dict()


@pytest.mark.parametrize(("stop", "workers", "limit"), [(5, 0, 1.0), (9, 2, 1.0), (7, 0, 4)])
def test_what_goes_on_in_the_middle_of_an_epoch_is_the_same_training(tmp_path, stop, workers, limit):
    pytest.importorskip("timm")
    whole = trained(tmp_path / "whole", workers=workers, limit=limit)
    trained(tmp_path / "parts", stop=stop, workers=workers, limit=limit)
    resumed = trained(tmp_path / "parts", resume=tmp_path / f"parts/step={stop}.ckpt", workers=workers, limit=limit)
    names = [name for name, value in whole.items() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(resumed[name], whole[name]) for name in names)
