import subprocess
import sys

import pytest

from vse_lightning.cli import find_configs


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
