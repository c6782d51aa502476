import os
import re

import pytest
from lightning import LightningModule

from vse_lightning.cli import main
from vse_lightning.cli.config_files import configs_first

COMMANDS = ("fit", "validate", "test", "predict", "label", "evaluate", "search", "export")


def test_configs_come_first_and_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["--trainer.max_epochs", "1", "--config", "quickstart.yaml", "-c=loss/triplet.yaml", "--seed_everything=1"]
    *found, name, value, last = configs_first([*args, "-c", "configs/loss/lseh.yaml"])
    assert [name, value, last] == ["--trainer.max_epochs", "1", "--seed_everything=1"]
    for argument, shipped in zip(found, ("quickstart.yaml", "loss/triplet.yaml", "loss/lseh.yaml"), strict=True):
        assert argument.startswith("--config=/")
        assert argument.endswith(f"configs/{shipped}")
    (tmp_path / "quickstart.yaml").write_text("mine: 1")
    assert configs_first(["--config", "quickstart.yaml"]) == ["--config=quickstart.yaml"]
    assert configs_first(["--force", "--config"]) == ["--force", "--config"]


def test_missing_config_names_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file 'quikstart.yaml' here.*loss/triplet.yaml.*quickstart.yaml"):
        configs_first(["--config", "quikstart.yaml"])
    with pytest.raises(FileNotFoundError, match="no file"):
        configs_first(["--config", "../pyproject.toml"])


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "broken.yaml").write_text("model: {class_path: [")
    with pytest.raises(ValueError, match=r"(?s)--config: .*broken.yaml must be YAML: .*line"):
        main(["fit", "--config", str(tmp_path / "broken.yaml")])
    (tmp_path / "list.yaml").write_text("- model")
    with pytest.raises(ValueError, match=r"--config: .*list.yaml must hold options by name, got a list"):
        main(["label", "--config", str(tmp_path / "list.yaml")])


def test_help_lists_the_eight_commands_with_a_line_each(capsys):
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    commands = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    assert [name for name, _ in commands] == [*COMMANDS]
    assert all(len(line) < 120 for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_configs_and_tells_its_options_in_one_spelling(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0
    options = re.findall(r"^  (?:-\w[^,]*, )?(--[\w.+-]+)", printed, re.MULTILINE)
    assert {"--help", "--config", "--print_config"} <= set(options)
    assert not [option for option in options if "-" in option[2:]]
    assert printed.startswith(f"usage: vse-lightning {command} ")


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
    main(["fit", *config, "--compare_with=null", "--trainer.max_epochs=1"])
    assert dict(os.environ) == environment
    fitted = capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("epoch*.ckpt")
    table = fitted[fitted.index("R@1") : fitted.index("checkpoint:")]
    main(["test", *config, "--ckpt_path", str(checkpoint)])
    assert table in capsys.readouterr().out
    main(["validate", *config, "--ckpt_path", str(checkpoint)])
    assert "NDCG@10 (scene attributes)" in capsys.readouterr().out
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
