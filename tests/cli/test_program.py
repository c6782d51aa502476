import os
import re

import pytest
from lightning import LightningModule

from vse_lightning.cli.program import find_configs, main


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


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "broken.yaml").write_text("model: {class_path: [")
    with pytest.raises(ValueError, match=r"(?s)--config: .*broken.yaml must be YAML: .*line"):
        find_configs(["fit", "--config", str(tmp_path / "broken.yaml")])


def test_the_command_is_checked():
    with pytest.raises(ValueError, match=r"COMMAND must be one of fit, validate, test, predict, label, .*, got 'fitt'"):
        main(["fitt"])
    with pytest.raises(ValueError, match="COMMAND must be one of"):
        main([])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_checkpoint_of_fit_is_tested_and_validated_by_its_path(tmp_path, monkeypatch, capsys):
    pytest.importorskip("PIL")
    pytest.importorskip("timm")
    pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)
    config = ["--config", "quickstart.yaml", "--config", "relevance/cider.yaml"]
    config += ["--data.init_args.source.init_args.num_images=40", "--trainer.accelerator=cpu"]
    config += [
        "--data.init_args.num_workers=0",
        "--data.init_args.batch_size=32",
        "--trainer.enable_progress_bar=false",
    ]
    environment = dict(os.environ)
    main(["fit", *config, "--trainer.max_epochs=1"])
    assert dict(os.environ) == environment
    fitted = capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    table = fitted[fitted.index("R@1") : fitted.index("checkpoint:")]
    main(["test", *config, "--ckpt_path", str(checkpoint)])
    assert table in capsys.readouterr().out
    main(["validate", *config, "--ckpt_path", str(checkpoint)])
    assert "NDCG@10 (CIDEr-D)" in capsys.readouterr().out
    from vse_lightning.models import DualEncoder

    assert DualEncoder.load_from_checkpoint(checkpoint, weights_only=True).text_encoder.vocabulary


class Host(LightningModule):
    """Measures something of its own."""

    def test_step(self, batch, batch_idx):
        self.log("test_acc", 0.75)
        self.log("test/loss", 3.25)
        self.log("test/i2t_recall", 45.5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_values_of_a_host_stand_in_the_table_as_they_are(capsys):
    pytest.importorskip("PIL")
    data = ["--data=ImageTextDataModule", "--data.source=ShapesSource", "--data.source.num_images=40"]
    quiet = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    main(["test", "--model", f"{__name__}.Host", *data, "--data.num_workers=0", *quiet])
    rows = dict(re.findall(r"│ (\S+) +│ +(\S+) │", capsys.readouterr().out))
    assert rows == {"test_acc": "0.7500", "loss": "3.250", "i2t_recall": "45.50"}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_environment_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VSE_DATA", raising=False)
    before = dict(os.environ)
    with pytest.raises(FileNotFoundError, match=r"has no 'data'; set VSE_DATA to the folder that has it"):
        main(["fit", "--config", "flickr8k.yaml"])
    assert dict(os.environ) == before
