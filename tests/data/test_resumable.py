"""Training that stops in the middle of an epoch and goes on is the same training."""

import os
import subprocess
import sys
from pathlib import Path

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


def trained(folder, *, stop=None, resume=None, workers=0, limit=1.0, queue=0, processes=1):
    seed_everything(3 if resume is None else 4)  # what goes on does not know what was drawn before
    image = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
    model = DualEncoder(image, Dropped(word_dim=8, embed_dim=8, min_count=1), TripletLoss(), lr_warmup_steps=6,
                        relevance_queue_size=queue)  # fmt: skip
    seed_everything(3)
    data = ImageTextDataModule(ShapesSource(num_images=30, image_size=32), batch_size=16, num_workers=workers)
    saves = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [saves, HardNegativeWarmup(2), *([] if stop is None else [StopAt(stop)])]
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, callbacks=callbacks, limit_val_batches=0,
        limit_train_batches=limit, enable_progress_bar=False, enable_model_summary=False,
        devices=processes, strategy="ddp" if processes > 1 else "auto",
    )  # fmt: skip
    try:
        trainer.fit(model, data, ckpt_path=resume)
    except StoppedError:
        return None
    return model.state_dict()


def differing(folder, stop, **options):
    """Names of weights that a training which stopped and went on has otherwise than one that did not stop."""
    whole = trained(folder / "whole", **options)
    trained(folder / "parts", stop=stop, **options)
    resumed = trained(folder / "parts", resume=folder / f"parts/step={stop}.ckpt", **options)
    names = [name for name, value in whole.items() if isinstance(value, torch.Tensor)]
    assert names
    return [name for name in names if not torch.equal(resumed[name], whole[name])]


@pytest.mark.parametrize(
    ("stop", "options"),
    [(5, {}), (9, {"workers": 2}), (7, {"limit": 4}), (5, {"queue": 40})],
    ids=["plain", "workers", "limit", "queue"],
)
def test_what_goes_on_in_the_middle_of_an_epoch_is_the_same_training(tmp_path, stop, options):
    pytest.importorskip("timm")
    assert not differing(tmp_path, stop, **options)


def test_so_it_is_with_several_processes(tmp_path):
    pytest.importorskip("timm")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]
    assert subprocess.run(command, timeout=300, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(len(differing(Path(sys.argv[1]), 5, queue=40, processes=2)))
