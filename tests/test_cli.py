import subprocess
import sys

import pytest
import torch

from vse_lightning.cli import find_configs, main
from vse_lightning.relevance import SBERTRelevance


def test_shipped_configs_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_configs(
        ["fit", "--config", "quickstart.yaml", "--config=loss/triplet.yaml", "-c", "configs/loss/lseh.yaml"]
    )
    assert found[0] == "fit"
    assert all(argument.partition("=")[2].endswith(".yaml") or argument[0] in "-f/" for argument in found)
    assert found[2].endswith("configs/quickstart.yaml")
    assert found[5].endswith("configs/loss/lseh.yaml")
    (tmp_path / "quickstart.yaml").write_text("mine: 1")
    assert find_configs(["--config", "quickstart.yaml"])[1] == "quickstart.yaml"


def test_missing_config_names_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no file 'quikstart.yaml' here.*loss/triplet.yaml.*quickstart.yaml"):
        find_configs(["--config", "quikstart.yaml"])
    with pytest.raises(ValueError, match="no file"):
        find_configs(["--config", "../pyproject.toml"])


def test_command_line_errors_are_one_line(tmp_path):
    command = [sys.executable, "-m", "vse_lightning", "fit", "--config", "nothing.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].startswith("vse-lightning: --config: no file 'nothing.yaml' here")
    assert "Traceback" not in result.stderr


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_checkpoint_of_fit_is_tested_and_validated_by_its_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = ["--config", "quickstart.yaml", "--config", "relevance/cider.yaml"]
    config += ["--data.init_args.source.init_args.num_images=40", "--trainer.accelerator=cpu"]
    config += [
        "--data.init_args.num_workers=0",
        "--data.init_args.batch_size=32",
        "--trainer.enable_progress_bar=false",
    ]
    main(["fit", *config, "--trainer.max_epochs=1"])
    fitted = capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    table = fitted[fitted.index("R@1") : fitted.index("checkpoint:")]
    main(["test", *config, "--ckpt_path", str(checkpoint)])
    assert table in capsys.readouterr().out
    main(["validate", *config, "--ckpt_path", str(checkpoint)])
    assert "NDCG@10 (CIDEr-D)" in capsys.readouterr().out
    from vse_lightning.models import DualEncoder

    assert DualEncoder.load_from_checkpoint(checkpoint, weights_only=True).text_encoder.vocabulary


def test_wrong_arguments_in_a_config_are_named(tmp_path):
    command = [sys.executable, "-m", "vse_lightning", "fit", "--config", "quickstart.yaml"]
    command += ["--model.init_args.retrieval_metrics.init_args.recall_ks=[0]"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == "vse-lightning: k must be a positive integer, got 0"


def test_errors_are_one_line_and_those_of_pytorch_keep_their_traceback(monkeypatch):
    def missing_model(args):
        SBERTRelevance("nobody/nothing").table(["a dog"], torch.tensor([0]))

    def wrong_product(args):
        torch.ones(2, 3) @ torch.ones(2, 3)

    monkeypatch.setattr("sys.argv", ["vse-lightning", "evaluate"])
    monkeypatch.setattr("vse_lightning.commands.evaluate.run", missing_model)
    with pytest.raises(SystemExit, match=r"^vse-lightning: the model 'nobody/nothing' is neither on this machine nor"):
        main()
    monkeypatch.setattr("vse_lightning.commands.evaluate.run", wrong_product)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main()
