"""clip.yaml as it is shipped, but with a tiny model and rendered shapes."""

import pytest

from vse_lightning.cli import main

SHAPES = [
    "--data.init_args.source=vse_lightning.data.ShapesSource",
    "--data.init_args.source.init_args.num_images=20",
    "--data.init_args.relevance=source",
    "--data.init_args.eval_relevance=null",
    "--data.init_args.batch_size=8",
    "--data.init_args.num_workers=0",
]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("loss", ["", "bcls", "infonce", "ladder", "listwise", "lseh", "triplet"])
def test_config_trains_and_tests(loss, tiny_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    configs = ["--config", "clip.yaml", *(["--config", f"loss/{loss}.yaml"] if loss else [])]
    model = ["--model.init_args.model", str(tiny_clip)]
    main(["fit", *configs, *model, *SHAPES, "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu"])
    assert "NDCG@10 (scene attributes)" in capsys.readouterr().out
