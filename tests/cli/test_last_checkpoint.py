"""A run that was killed goes on with ``--ckpt_path last``."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from vse_lightning.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

CONFIG = """
seed_everything: 1
trainer:
  accelerator: cpu
  max_epochs: {epochs}
  logger: {{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: runs}}}}
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {{monitor: val/rsum, mode: max, save_last: true}}
data:
  class_path: vse_lightning.data.ImageTextDataModule
  init_args:
    source: {{class_path: vse_lightning.data.ShapesSource, init_args: {{num_images: 40, image_size: 32}}}}
    num_workers: 0
    batch_size: 32
model:
  class_path: vse_lightning.models.DualEncoder
  init_args:
    image_encoder:
      class_path: vse_lightning.models.TimmImageEncoder
      init_args: {{model: test_resnet, pretrained: false, embed_dim: 8, image_size: 32}}
    text_encoder:
      class_path: vse_lightning.models.GRUTextEncoder
      init_args: {{word_dim: 8, embed_dim: 8, min_count: 1}}
    relevance_loss: {{class_path: vse_lightning.losses.TripletLoss, init_args: {{mining: all}}}}
    retrieval_metrics: {{class_path: vse_lightning.metrics.RetrievalMetrics, init_args: {{ndcg_ks: []}}}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(folder, epochs):
    path = folder / f"{epochs}.yaml"
    path.write_text(CONFIG.format(epochs=epochs))
    return f"--config={path}"


def test_a_killed_run_ends_as_one_that_was_not(folder, capsys):
    words = [sys.executable, "-W", "ignore", "-m", "vse_lightning", "fit", config(folder, 1000)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
        last, until = folder / "runs/lightning_logs/version_0/checkpoints/last.ckpt", time.monotonic() + 300
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    killed = torch.load(last, weights_only=True)
    epochs = killed["epoch"] + 3
    (last.parent / "truncated.ckpt").write_bytes(last.read_bytes()[:1000])  # the newest, of a kill while writing
    main(["fit", config(folder, epochs), "--ckpt_path=last"])
    printed = capsys.readouterr().out
    assert "truncated.ckpt is damaged, as a file that was cut off" in printed
    assert "--ckpt_path last: runs/lightning_logs/version_0/checkpoints/" in printed
    checkpoints = [torch.load(path, weights_only=True) for path in last.parent.glob("last*.ckpt")]
    (resumed,) = (checkpoint["state_dict"] for checkpoint in checkpoints if checkpoint["epoch"] == epochs - 1)
    main(["fit", config(folder, epochs), "--trainer.logger.init_args.save_dir=whole"])
    (whole,) = folder.glob("whole/**/last.ckpt")
    expected = torch.load(whole, weights_only=True)["state_dict"]
    names = [name for name, value in expected.items() if isinstance(value, torch.Tensor)]
    assert names
    assert all(torch.equal(resumed[name], expected[name]) for name in names)
    assert (folder / "runs/lightning_logs/version_1").is_dir()
    assert not (folder / "runs/lightning_logs/version_1/checkpoints").exists()


def test_the_best_checkpoint_of_the_earlier_part_still_counts(folder, capsys):
    for epochs in (1, 3):
        path = folder / f"{epochs}.yaml"
        path.write_text(CONFIG.format(epochs=epochs).replace("val/rsum, mode: max", "step, mode: min"))  # never better
        main(["fit", f"--config={path}", "--ckpt_path=last"])
    (best,) = folder.glob("runs/**/epoch=*.ckpt")
    second = capsys.readouterr().out.rpartition("--ckpt_path last: ")[2]
    assert best.name.startswith("epoch=0")
    assert f"checkpoint: {best.relative_to(folder)}" in second


def test_without_a_checkpoint_it_is_said(folder, capsys):
    with pytest.raises(FileNotFoundError, match="--ckpt_path last: there is no checkpoint yet in runs, "):
        main(["test", config(folder, 1), "--ckpt_path=last"])
    main(["fit", config(folder, 1), "--ckpt_path=last"])
    assert "there is no checkpoint yet in runs, .: starting from scratch" in capsys.readouterr().out
