"""Who gets a message, and who a traceback."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

from vse_lightning.checks import require
from vse_lightning.cli import main
from vse_lightning.relevance import SBERTRelevance

pytest.importorskip("sentence_transformers")
pytest.importorskip("timm")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
QUICK = ["fit", "--config", "quickstart.yaml", "--data.init_args.relevance=source", "--trainer.accelerator=cpu"]
QUICK += ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.enable_checkpointing=false"]
QUICK += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.enable_progress_bar=false"]
QUICK += ["--data.init_args.batch_size=8", "--data.init_args.source.init_args.num_images=40"]
LOSS, SOURCE = "--model.init_args.relevance_loss", "--data.init_args.source"
NO_WORKERS, WORKERS = "--data.init_args.num_workers=0", "--data.init_args.num_workers=1"

THEIRS = """
import torch
from vse_lightning.data import ShapesSource
from vse_lightning.losses import TripletLoss

class Loss(TripletLoss):
    def __init__(self, mistake: str):
        super().__init__(margin=-1 if mistake == "margin" else 0.2)
        self.mistake = mistake
        if mistake == "constructor":
            None + 1

    def per_query(self, *args, **kwargs):
        if self.mistake == "type":
            len(3)
        if self.mistake == "value":
            raise ValueError("this is mine")
        if self.mistake == "shape":
            torch.ones(2, 3) @ torch.ones(2, 3)
        return super().per_query(*args, **kwargs)

class Source(ShapesSource):
    def __init__(self, num_images: int, mistake: str):
        super().__init__(num_images)
        self.mistake = mistake

    def load_image(self, image_id):
        if self.mistake == "type":
            len(3)
        return open("/there/is/nothing") if self.mistake == "file" else super().load_image(image_id)
"""


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Run the command as a shell does; gives the exit code and what was printed to stderr, or the error it died of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs_of_a_user.py").write_text(THEIRS)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "theirs_of_a_user", raising=False)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["vse-lightning", *map(str, args)])
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            main()
        if isinstance(caught.value, SystemExit):
            return caught.value.code, capsys.readouterr().err
        return "".join(traceback.format_exception(caught.value))

    return run


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["fit", "--config", "nothing.yaml"],
            "--config: no file 'nothing.yaml' here, and none of that name is shipped",
        ),
        (
            [*QUICK, f"{LOSS}.init_args.marginz=3"],
            "relevance_loss (vse_lightning.losses.WeightedSumLoss): Option 'marginz' is not",
        ),
        ([*QUICK, f"{LOSS}=vse_lightning.losses.LaderLoss"], "module 'vse_lightning.losses' has no attribute"),
        (
            [*QUICK, "--trainer.max_epocs=3"],
            "unrecognized arguments: --trainer.max_epocs=3: did you mean --trainer.max_epochs?\n",
        ),
        ([*QUICK, "--trainer.max_epochs=many"], "trainer.max_epochs: expected int, got many\n"),
        ([*QUICK, "--model=nothing.Model"], "model (nothing.Model): No module named 'nothing'\n"),
        ([*QUICK, "--trainer.devices=some"], "`devices` selected with `CPUAccelerator` should be an int > 0.\n"),
        ([*QUICK, "--data.init_args.batch_size=0"], "batch_size must be a whole number of at least 1, got 0\n"),
        ([*QUICK, "--ckpt_path=best.ckpt"], "--ckpt_path: nothing at 'best.ckpt'"),
        ([*QUICK, "--model.init_args.optimizer.init_args.lr=-1", NO_WORKERS], "Invalid learning rate: -1.0\n"),
        (["fit"], "the following arguments are required: fit.data, fit.model\n"),
        (["fitt"], "COMMAND must be one of fit, validate, test, predict, label"),
        (["evaluate", "nothing.npz"], "model: nothing at 'nothing.npz'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_config_a_file_or_an_option_gets_one_message(shell, args, message):
    code, printed = shell(*args)
    said = printed[printed.index("vse-lightning: ") :]
    assert code == 2
    assert message in said.splitlines(keepends=True)[0]
    assert len(said.splitlines()) == 1
    assert "Traceback" not in printed
    assert "usage:" not in printed


@pytest.mark.parametrize("mistake", ["constructor", "type", "value", "shape"])
def test_an_error_in_a_users_loss_keeps_its_traceback(shell, mistake):
    died = shell(*QUICK, NO_WORKERS, f"{LOSS}=theirs_of_a_user.Loss", f"{LOSS}.init_args.mistake={mistake}")
    wrong = {
        "constructor": ("None + 1", "TypeError: unsupported operand"),
        "type": ("len(3)", "TypeError: object of type 'int' has no len()"),
        "value": ('raise ValueError("this is mine")', "ValueError: this is mine"),
        "shape": ("torch.ones(2, 3) @ torch.ones(2, 3)", "RuntimeError: "),
    }[mistake]
    assert wrong[0] in died
    assert died.rstrip().splitlines()[-1].startswith(wrong[1])
    assert "theirs_of_a_user.py" in died


@pytest.mark.parametrize("workers", [NO_WORKERS, WORKERS])
@pytest.mark.parametrize(("mistake", "wrong"), [("type", "len(3)"), ("file", 'open("/there/is/nothing")')])
def test_an_error_in_a_users_source_keeps_its_traceback(shell, workers, mistake, wrong):
    died = shell(*QUICK, workers, f"{SOURCE}=theirs_of_a_user.Source", f"{SOURCE}.init_args.mistake={mistake}")
    assert wrong in died
    assert "theirs_of_a_user.py" in died


def test_what_this_package_says_to_a_users_code_names_the_line(shell):
    code, printed = shell(*QUICK, f"{LOSS}=theirs_of_a_user.Loss", f"{LOSS}.init_args.mistake=margin")
    assert code == 2
    said = printed[printed.index("vse-lightning: ") :]
    assert said.startswith("vse-lightning: margin must be a finite number of at least 0, got -1\n(called in ")
    assert said.endswith("theirs_of_a_user.py, line 8)\n")


@pytest.mark.parametrize("workers", [NO_WORKERS, WORKERS])
def test_a_damaged_picture_gets_one_message_out_of_a_worker_too(shell, tmp_path, workers):
    (tmp_path / "pictures").mkdir()
    images = [{"filename": f"{n}.png", "split": "train", "sentences": [{"raw": "a dog"}]} for n in range(4)]
    for image in images:
        (tmp_path / "pictures" / image["filename"]).write_text("no picture")
    (tmp_path / "captions.json").write_text(str({"images": images}).replace("'", '"'))
    source = [f"{SOURCE}=vse_lightning.data.KarpathySource", f"{SOURCE}.init_args.captions=captions.json"]
    args = [arg for arg in QUICK if "num_images" not in arg and "relevance" not in arg]
    loss = [f"{LOSS}=vse_lightning.losses.TripletLoss", "--trainer.limit_val_batches=0"]
    code, printed = shell(*args, workers, *source, f"{SOURCE}.init_args.images=pictures", *loss)
    said = printed[printed.index("vse-lightning: ") :]
    assert code == 2
    assert "cannot be read" in said
    assert ".png" in said
    assert len(said.splitlines()) == 1


def test_errors_of_the_commands(shell, monkeypatch):
    def missing_model(models: list[str]):
        SBERTRelevance("nobody/nothing").table(["a dog"], torch.tensor([0]))

    def wrong_product(models: list[str]):
        torch.ones(2, 3) @ torch.ones(2, 3)

    def noted(models: list[str]):
        try:
            require(False, "it must be so")
        except ValueError as error:
            error.add_note("and this is how")
            raise

    def other_process(models: list[str]):
        raise RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [::1]:17"
        )

    monkeypatch.setattr("vse_lightning.cli.evaluate.evaluate", other_process)
    assert shell("evaluate", "a.npz")[1].startswith("vse-lightning: another process of this run has ended")
    monkeypatch.setattr("vse_lightning.cli.evaluate.evaluate", missing_model)
    code, printed = shell("evaluate", "a.npz")
    assert (code, printed.count("Traceback")) == (2, 0)
    assert printed.startswith("vse-lightning: the model 'nobody/nothing' is neither on this machine nor")
    monkeypatch.setattr("vse_lightning.cli.evaluate.evaluate", noted)
    assert shell("evaluate", "a.npz")[1].startswith("vse-lightning: it must be so\nand this is how\n")
    monkeypatch.setattr("vse_lightning.cli.evaluate.evaluate", wrong_product)
    assert "mat1 and mat2" in shell("evaluate", "a.npz")


@pytest.mark.parametrize("program", ["-m vse_lightning", "console script"])
def test_both_ways_to_start_find_classes_in_the_working_directory(tmp_path, program):
    (tmp_path / "mine.py").write_text("from vse_lightning.losses import TripletLoss\n\nclass Mine(TripletLoss): ...\n")
    started = ["-m", "vse_lightning"]
    if program == "console script":  # what pip writes
        (tmp_path / "bin").mkdir()
        script = tmp_path / "bin" / "vse-lightning"
        script.write_text("import sys\nfrom vse_lightning.cli import main\nsys.exit(main())\n")
        started = [str(script)]
    args = ["fit", "--config", "quickstart.yaml", f"{LOSS}=mine.Mine", "--nonsense"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore", *started, *args]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (2, "vse-lightning: unrecognized arguments: --nonsense\n")


@pytest.mark.parametrize(
    ("command", "option", "meant"),
    [
        ("fit", "--max-epochs", "--trainer.max_epochs"),
        ("validate", "--ckptpath", "--ckpt_path"),
        ("test", "--ckpt-path", "--ckpt_path"),
        ("predict", "--nonsense", None),
        ("label", "--configs", "--config"),
        ("evaluate", "--captions-per-image", "--captions_per_image"),
        ("search", "--top-k", "--top_k"),
        ("export", "--fromat", "--format"),
    ],
)
def test_unknown_option_gets_the_one_that_is_meant(shell, command, option, meant):
    code, message = shell(command, option, "5")
    hint = f": did you mean {meant}?" if meant else ""
    assert (code, message) == (2, f"vse-lightning: unrecognized arguments: {option} 5{hint}\n")
