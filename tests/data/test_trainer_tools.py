"""What people do around ``fit``: tuning, debugging runs, copies, processes that are spawned."""

import copy
import pickle

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch import nn

from vse_lightning.data import ImageTextDataModule, KarpathySource, ShapesSource
from vse_lightning.losses import TripletLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder

pytest.importorskip("PIL")


class Host(LightningModule):
    """Counts the pairs of each batch."""

    def __init__(self):
        super().__init__()
        self.layer, self.sizes = nn.Linear(1, 1), []

    def training_step(self, batch):
        self.sizes.append(len(batch["text_ids"]))
        return self.layer(batch["image"].mean().view(1, 1)).sum()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture(scope="module")
def source():
    return ShapesSource(40, image_size=32)


@pytest.fixture
def trainer(tmp_path):
    def make(kind=Trainer, **options):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        defaults = {"max_epochs": 1, "enable_model_summary": False, "default_root_dir": tmp_path}
        return kind(**quiet | defaults | options)

    return make


def data_of(source, batches="random", **options):
    return ImageTextDataModule(source, "source", batches=batches, **{"batch_size": 8, "num_workers": 0} | options)


def dual_encoder(**options):
    image = TimmImageEncoder("test_efficientnet", pretrained=False, embed_dim=16, image_size=32)
    metrics = RetrievalMetrics(recall_ks=(1,), ndcg_ks=(), coherent_ks=())
    return DualEncoder(image, GRUTextEncoder(8, 16, min_count=1), TripletLoss(mining="all"), metrics, **options)


@pytest.mark.parametrize("batches", ["random", "similar"])
def test_learning_rate_is_found_and_set(source, trainer, batches):
    model = dual_encoder(optimizer=_adam, lr_scheduler=_halving)
    assert model.lr == 0.02
    tuning = trainer()
    found = Tuner(tuning).lr_find(model, datamodule=data_of(source, batches), num_training=40)
    assert model.lr == found.suggestion() != 0.02
    [optimizer], _ = model.configure_optimizers()
    assert [group["lr"] for group in optimizer.param_groups] == [model.lr]
    assert pickle.loads(pickle.dumps(model)).lr == model.lr


def _adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


def _halving(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)


def test_rates_of_groups_keep_their_proportions(source):
    def two_rates(parameters):
        first, *others = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.3}, {"params": others}], lr=0.1)

    model = dual_encoder(optimizer=two_rates)
    model.lr = 0.01
    assert [group["lr"] for group in model.make_optimizer().param_groups] == pytest.approx([0.03, 0.01])


@pytest.mark.parametrize("batches", ["random", "distinct", "similar"])
@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_batch_size_is_scaled(source, trainer, batches, mode):
    data, host = data_of(source, batches), Host()
    size = Tuner(trainer()).scale_batch_size(
        host, datamodule=data, mode=mode, max_trials=3, steps_per_trial=1, init_val=4
    )
    assert data.batch_size == size > 4
    assert set(host.sizes) >= {8, 16}
    host.sizes.clear()
    trainer().fit(host, datamodule=data)
    assert set(host.sizes) == {size}


@pytest.mark.parametrize("batches", ["random", "distinct", "similar"])
@pytest.mark.parametrize(
    ("options", "steps"),
    [({"fast_dev_run": 2}, 2), ({"limit_train_batches": 3}, 3), ({"limit_train_batches": 0.25}, 5)],
)
def test_short_runs(source, trainer, batches, options, steps):
    host = Host()
    trainer(**options).fit(host, datamodule=data_of(source, batches))
    assert host.sizes == [8] * steps


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_fitted_data_module_is_copied_without_its_trainer(source, trainer, copied):
    data = data_of(source, "similar", num_workers=1)
    run = trainer(limit_train_batches=1)
    run.fit(Host(), datamodule=data)
    twin = copied(data)
    assert data.trainer is run
    assert twin.trainer is None
    torch.testing.assert_close(
        twin.relevance_table.block(torch.arange(4), torch.arange(9)),
        data.relevance_table.block(torch.arange(4), torch.arange(9)),
    )
    host = Host()
    trainer().fit(host, datamodule=twin)
    assert host.sizes == [8] * 20


@pytest.fixture
def damaged(karpathy):
    """A source in which a picture of the split train and one of the two of the split val cannot be read."""
    for path in ("a/1.png", "b/4.png"):
        (karpathy / "pictures" / path).write_bytes(b"not a picture")
    return KarpathySource(karpathy / "captions.json", images=karpathy / "pictures")


@pytest.mark.parametrize(
    ("context", "copied"),
    [
        (None, lambda data: data),
        ("fork", lambda data: data),
        ("fork", copy.deepcopy),
        ("spawn", lambda data: pickle.loads(pickle.dumps(data))),
    ],
)
def test_skipped_pictures_are_known_in_the_main_process_at_once(damaged, context, copied):
    data = copied(ImageTextDataModule(damaged, num_workers=1 if context else 0, on_corrupt="skip"))
    loader = data.val_dataloader()
    if context:
        loader.multiprocessing_context = context
    assert data.skipped_images == []
    assert [batch["image_ids"].tolist() for batch in loader] == [[5, 5]]
    assert data.skipped_images == [4]


def test_evaluation_batch_of_unreadable_pictures(damaged):
    data = ImageTextDataModule(damaged, eval_batch_size=1, num_workers=0, on_corrupt="skip")
    batches = list(data.val_dataloader())
    assert [batch["image_ids"].tolist() for batch in batches] == [[5], [5]]  # once more the next that can be read
    assert [batch["text_ids"].tolist() for batch in batches] == [[9, 10, 11]] * 2


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_processes_skipped_is_known_where_they_were_started(damaged, trainer, strategy):
    data = ImageTextDataModule(damaged, batch_size=2, num_workers=0, on_corrupt="skip")
    trainer(strategy=strategy, devices=2, num_sanity_val_steps=0).fit(Host(), datamodule=data)
    assert data.skipped_images == [1, 4]
