"""``fit --compare_with`` trains the same model with another config, and shows both."""

import csv
import re

import pytest
from lightning.pytorch.utilities import rank_zero_info

from vse_lightning.cli import main
from vse_lightning.cli.quiet import without_remarks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: runs, name: small}}
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {monitor: val/rsum, mode: max, save_last: true}
    - class_path: vse_lightning.callbacks.RetrievalGallery
      init_args: {queries: 1}
data:
  class_path: vse_lightning.data.ImageTextDataModule
  init_args:
    source: {class_path: vse_lightning.data.ShapesSource, init_args: {num_images: 40, image_size: 32}}
    relevance: source
    num_workers: 0
    batch_size: 32
model:
  class_path: vse_lightning.models.DualEncoder
  init_args:
    image_encoder:
      class_path: vse_lightning.models.TimmImageEncoder
      init_args: {model: test_resnet, pretrained: false, embed_dim: 8, image_size: 32}
    text_encoder:
      class_path: vse_lightning.models.GRUTextEncoder
      init_args: {word_dim: 8, embed_dim: 8, min_count: 1}
    relevance_loss: {class_path: vse_lightning.losses.SmoothNDCGLoss, init_args: {temperature: 0.05}}
    retrieval_metrics: {class_path: vse_lightning.metrics.RetrievalMetrics}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return f"--config={path}"


def measured(folder):
    """What a run measured in its test."""
    with (folder / "metrics.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    return {name: value for name, value in last.items() if name.startswith("test/")}


def test_the_other_model_is_the_one_that_a_fit_of_its_own_gives(config, tmp_path, capsys):
    main(["fit", config, "--compare_with", "loss/triplet.yaml"])
    printed = capsys.readouterr().out
    assert re.search(r"metric +┃ +triplet ┃ +this ┃ +random ┃ +ideal", printed)
    run = tmp_path / "runs/small/version_0"
    page = (run / "gallery-test.html").read_text()
    assert "compared/triplet" in page
    main(["fit", config, "--config=loss/triplet.yaml", "--trainer.logger.init_args.save_dir=alone"])
    alone = measured(tmp_path / "alone/small/version_0")
    assert alone["test/i2t_ndcg_at_10"]
    assert measured(run / "compared/triplet") == alone
    assert measured(run) != alone
    shown = f"{float(alone['test/t2i_ndcg_at_10']):#.4g}"
    assert re.search(rf"NDCG@10 \(scene attributes\) +│ +{shown} ", printed)
    main(["fit", config, "--ckpt_path=last"])  # never the other model's
    assert "--ckpt_path last: runs/small/version_0/checkpoints/" in capsys.readouterr().out


def test_a_config_that_is_not_there_is_said_before_the_training(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file 'loss/tripled.yaml' here, and none of that name is shipped"):
        main(["fit", config, "--compare_with=loss/tripled.yaml"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--trainer.limit_train_batches=1", "not all of the training data is used"),
        ("--trainer.fast_dev_run=true", "not all of the training data is used"),
        ("--trainer.logger=false", "without a logger there is no folder for the other model"),
    ],
)
def test_what_cannot_be_compared_is_left_out_with_a_word(config, tmp_path, capsys, option, reason):
    main(["fit", config, "--compare_with=loss/triplet.yaml", option])
    assert f"--compare_with loss/triplet.yaml is left out: {reason}" in capsys.readouterr().out
    assert not list(tmp_path.rglob("compared"))


def test_remarks_of_lightning_are_held_back_and_ours_are_not(config, caplog, capfd):
    with without_remarks(), caplog.at_level("INFO"):
        rank_zero_info("ours")
        main(["fit", config, "--trainer.fast_dev_run=true"])
    printed = capfd.readouterr()
    for text in ("Tip:", "GPU available", "TPU"):
        assert text not in printed.out + printed.err
    assert "ours" in printed.out + printed.err + caplog.text
