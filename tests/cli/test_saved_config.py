"""The saved configuration of a run, and files of the user that have its name."""

import json

import pytest
import torch
import yaml

from vse_lightning.cli import main, saved_config
from vse_lightning.data import ShapesSource

pytest.importorskip("sentence_transformers")
pytest.importorskip("timm")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
MINE = "# found by hand\nmine: 1\n"


class Logger(pytest.importorskip("lightning").pytorch.loggers.logger.DummyLogger):
    """Has a folder that is not of one run, as those of MLflow and W&B."""

    save_dir = "."


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["--config", "quickstart.yaml", "--trainer.callbacks=null", "--trainer.accelerator=cpu"]
    args += ["--data.init_args.relevance=source", "--data.init_args.source.init_args.num_images=40"]
    args += ["--data.init_args.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.limit_test_batches=0"]
    args += ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--data.init_args.batch_size=8"]
    return lambda *more: main(["fit", *args, "--trainer.enable_checkpointing=false", *more])


def test_without_a_logger_nothing_is_saved(run, tmp_path):
    (tmp_path / "config.yaml").write_text(MINE)
    run("--trainer.logger=false")
    assert (tmp_path / "config.yaml").read_text() == MINE
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_fresh_folder_gets_a_config_that_makes_the_same_run(run, tmp_path):
    run("--model.init_args.retrieval_metrics.init_args.folds=2")
    saved = tmp_path / "runs" / "quickstart" / "version_0" / "config.yaml"
    run("--config", str(saved))
    again = tmp_path / "runs" / "quickstart" / "version_1" / "config.yaml"
    assert again.read_text() == saved.read_text()
    assert yaml.safe_load(saved.read_text())["model"]["init_args"]["retrieval_metrics"]["init_args"]["folds"] == 2


def test_a_file_that_is_there_is_never_overwritten(run, tmp_path):
    (tmp_path / "config.yaml").write_text(MINE)
    logger = f"--trainer.logger={__name__}.Logger"
    run(logger)
    run(logger)  # the same again
    run(logger, "--model.init_args.lr_warmup_steps=3")
    assert (tmp_path / "config.yaml").read_text() == MINE
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["config-1.yaml", "config-2.yaml", "config.yaml"]
    assert yaml.safe_load((tmp_path / "config-2.yaml").read_text())["model"]["init_args"]["lr_warmup_steps"] == 3


def test_versions_seed_labels_and_data_stand_beside_the_run(run, tmp_path):
    run("--seed_everything=7")
    run("--seed_everything=7", "--data.init_args.source.init_args.seed=1")
    folder = tmp_path / "runs" / "quickstart"
    first, second = (json.loads((folder / f"version_{number}" / "run.json").read_text()) for number in (0, 1))
    assert first["seed"] == 7
    assert torch.__version__.startswith(first["versions"]["torch"])
    assert first["versions"]["vse_lightning"]
    assert first["labels"]["train"] == "scene attributes"
    source = ShapesSource(num_images=40)
    assert first["data"] == {"source": "ShapesSource", "sha256": source.fingerprint}
    assert second == first | {"data": second["data"]}
    assert second["data"]["sha256"] != first["data"]["sha256"]


def test_a_folder_named_as_a_package_is_none(tmp_path, monkeypatch):
    (tmp_path / "somebodys_datasets").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(saved_config, "_PACKAGES", ("torch", "somebodys_datasets"))
    assert sorted(saved_config.versions()) == ["python", "torch", "vse_lightning"]
