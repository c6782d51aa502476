"""Every logger keeps every value under the name that it was logged with: read back from what the logger wrote."""

import csv
import json
import re
import struct

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss, LadderLoss, WeightedSumLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder
from vse_lightning.relevance import CIDErRelevance

FULL, LAST = 1, 4
PICTURES = ["test/relevance_by_rank", "test/retrieved_images"]


class Notes(Logger):
    """Keeps what every logger is given."""

    name, version, save_dir, experiment = "notes", "0", None, None

    def __init__(self):
        super().__init__()
        self.values = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            self.values.setdefault(name, []).append(pytest.approx(float(value), nan_ok=True))


@pytest.fixture
def values_given_to(tmp_path):
    """Fit and test a tiny model with a logger; all that it was given, ``name -> values in their order``."""
    pytest.importorskip("timm")
    pytest.importorskip("scipy")

    def run(logger):
        torch.manual_seed(0)
        labels = {"scene": "source", "cider": CIDErRelevance()}
        source = ShapesSource(num_images=80, image_size=32)
        data = ImageTextDataModule(source, "source", eval_relevance=labels, batch_size=16, num_workers=0)
        image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
        loss = WeightedSumLoss({"ladder": LadderLoss(), "infonce": ContrastiveLoss()}, {"ladder": 1.0, "infonce": 0.5})
        text_encoder = GRUTextEncoder(word_dim=8, embed_dim=8, min_count=1)
        model = DualEncoder(image_encoder, text_encoder, loss, RetrievalMetrics(coherent_ks=(5,)))
        notes = Notes()
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = Trainer(
            max_epochs=2,
            log_every_n_steps=5,
            logger=[logger, notes],
            callbacks=[RetrievalGallery(queries=2)],
            accelerator="cpu",
            default_root_dir=tmp_path,
            **quiet,
        )
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        return notes.values

    return run


def assert_keeps(found, given):
    assert {"train/loss", "train/infonce", "val/i2t_recall_at_1", "test/t2i_ndcg_at_10_cider", "test/rsum"} < set(given)
    assert {name: found.get(name) for name in given} == given


def test_names_are_of_letters_that_all_loggers_take(values_given_to, tmp_path):
    names = values_given_to(CSVLogger(tmp_path))
    assert [name for name in names if not re.fullmatch(r"\w+(/\w+)?", name)] == []


def test_csv(values_given_to, tmp_path):
    given = values_given_to(CSVLogger(tmp_path, name="csv", version=0))
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert_keeps({name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}, given)


def test_tensorboard(values_given_to, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    given = values_given_to(TensorBoardLogger(tmp_path, name="board", version=0))
    board = accumulator.EventAccumulator(str(tmp_path / "board" / "version_0"))
    board.Reload()
    tags = board.Tags()
    assert_keeps({name: [event.value for event in board.Scalars(name)] for name in tags["scalars"]}, given)
    assert sorted(tags["images"]) == PICTURES


# mlflow's own imports, and its advice to take a database
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("store", ["file:{}/mlruns", "sqlite:///{}/mlflow.db"], ids=["files", "sqlite"])
def test_mlflow(store, values_given_to, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions refuse it otherwise
    monkeypatch.chdir(tmp_path)
    logger = MLFlowLogger("shapes", tracking_uri=store.format(tmp_path))
    given = values_given_to(logger)
    client = mlflow.MlflowClient(store.format(tmp_path))
    names = client.get_run(logger.run_id).data.metrics
    histories = {name: client.get_metric_history(logger.run_id, name) for name in names}
    assert_keeps({name: [metric.value for metric in history] for name, history in histories.items()}, given)


# wandb's own imports
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_wandb(values_given_to, tmp_path):
    wandb = pytest.importorskip("wandb")
    given = values_given_to(WandbLogger(project="shapes", save_dir=tmp_path, offline=True))
    wandb.finish()
    (path,) = tmp_path.rglob("run-*.wandb")
    found = {}
    for row in rows_of_wandb_file(path):
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    assert_keeps(found, given)
    for name in PICTURES:
        (files,) = found[f"{name}/filenames"]
        assert len(list(tmp_path.rglob(files[0]))) == 1


def rows_of_wandb_file(path):
    """What was logged at once, row by row, from the file that ``wandb sync`` would send."""
    from wandb.proto import wandb_internal_pb2

    for data in records_of_wandb_file(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def records_of_wandb_file(content, block=32768):
    """W&B's reader is no longer in Python: 7 bytes, then LevelDB's log, records in pieces that do not cross blocks."""
    place, record = 7, b""
    while place < len(content):
        if block - place % block < 7:  # no room for a head
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            yield record
            record = b""
