"""What a Trainer of the package ``pytorch_lightning`` meets: one line, or it works."""

import pytest
import torch
from torch import nn

from vse_lightning.callbacks import EmbeddingWriter, HardNegativeWarmup, RetrievalGallery
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.embedding_files import read_embeddings
from vse_lightning.losses import TripletLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins import RetrievalMetricsMixin

pl = pytest.importorskip("pytorch_lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]

SAY = "write 'import lightning.pytorch as pl' in place of 'import pytorch_lightning as pl'"


class Host(pl.LightningModule):
    """Embeds colours and lengths."""

    def __init__(self):
        super().__init__()
        self.image, self.text, self.loss, self.mined = nn.Linear(3, 4), nn.Linear(1, 4), TripletLoss(), []

    def retrieval_embeds(self, batch):
        lengths = torch.tensor([[float(len(text))] for text in batch["text"]])
        return self.image(batch["image"].mean((2, 3))), self.text(lengths)

    def training_step(self, batch, batch_idx):
        self.mined.append(self.loss.mining)
        images, texts = self.retrieval_embeds(batch)
        return self.loss(images @ texts.T)

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        images, texts = self.retrieval_embeds(batch)
        ids = {key: batch[key] for key in ("image_ids", "text_image_ids", "text_ids")}
        return {"image_embeds": images, "text_embeds": texts, **ids}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Measured(RetrievalMetricsMixin, Host):
    pass


@pytest.fixture(scope="module")
def source():
    pytest.importorskip("PIL")
    return ShapesSource(40, image_size=32)


@pytest.fixture
def data(source):
    return ImageTextDataModule(source, "source", batch_size=16, num_workers=0)


@pytest.fixture
def trainer(tmp_path):
    def make(**options):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        return pl.Trainer(max_epochs=2, enable_model_summary=False, default_root_dir=tmp_path, **quiet, **options)

    return make


@pytest.mark.parametrize("method", ["fit", "validate", "predict"])
def test_data_module_says_which_lightning_it_belongs_to(data, trainer, method):
    host = Host()
    with pytest.raises(TypeError, match=f"ImageTextDataModule belongs to the package lightning, .*: {SAY}$"):
        getattr(trainer(), method)(host, datamodule=data)
    with pytest.raises(NotImplementedError, match=f"is no loader: .* {SAY}$"):  # taken for a loader
        getattr(trainer(), method)(host, data)
    assert host.mined == []


def test_trainer_of_a_subclass_is_recognised(data):
    class Mine(pl.Trainer):
        pass

    with pytest.raises(TypeError, match="belongs to the package lightning"):
        Mine(accelerator="cpu", logger=False, enable_checkpointing=False).fit(Host(), datamodule=data)


def test_its_loaders_work(data, trainer):
    data.setup("fit")
    host = Host()
    trainer().fit(host, data.train_dataloader(), data.val_dataloader())
    assert len(host.mined) == 20


def test_hard_negative_warmup_works(data, trainer):
    host = Host()
    trainer(callbacks=[HardNegativeWarmup()]).fit(host, data.train_dataloader())
    assert host.mined == ["all"] * 10 + ["hardest"] * 10


def test_embedding_writer_works(data, trainer, tmp_path):
    writer = EmbeddingWriter(tmp_path / "embeddings")
    trainer(callbacks=[writer]).predict(Host(), data.predict_dataloader(), return_predictions=False)
    written = read_embeddings(tmp_path / "embeddings")
    assert written.image_ids.tolist() == [36, 37, 38, 39]
    assert written.text_ids.tolist() == list(range(180, 200))


def test_gallery_works_where_it_is_given_the_source(data, trainer, source):
    metrics = RetrievalMetrics(recall_ks=(1,), ndcg_ks=(), coherent_ks=())
    gallery = RetrievalGallery(stages=["val"], source=source)
    trainer(callbacks=[gallery]).validate(Measured(retrieval_metrics=metrics), data.val_dataloader(), verbose=False)
    assert "image → text" in gallery.path.read_text()
