"""Checkpoints that ask for code: everything that the parser would import is refused before it is."""

import subprocess
import sys

import pytest
import torch
from lightning import Trainer
from torch.optim import Adam

from vse_lightning.losses import TripletLoss
from vse_lightning.models import DualEncoder, FeatureImageEncoder, GRUTextEncoder, load_retriever
from vse_lightning.models.checkpoints.trust import require_trusted

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

THEIRS = """
from pathlib import Path
from os import system
import torch
from vse_lightning.models import FeatureImageEncoder
Path({mark!r}).touch()

class Encoder(FeatureImageEncoder):
    def __init__(self, input_dim: int = 5, embed_dim: int = 6, trust_remote_code: bool = False):
        super().__init__(input_dim, embed_dim)
"""
TEXT_ENCODER = {"class_path": "vse_lightning.models.GRUTextEncoder", "init_args": {"embed_dim": 6}}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "strangers.py").write_text(THEIRS.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield mark
    sys.modules.pop("strangers", None)


@pytest.fixture
def saved(tmp_path):
    """Save a model with other hyper-parameters than it had."""
    words = GRUTextEncoder(word_dim=4, embed_dim=6, min_count=1)
    words.fit(["a dog"])
    model = DualEncoder(FeatureImageEncoder(5, embed_dim=6), words, TripletLoss())
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")

    def save(**changes):
        checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=True)
        checkpoint["hyper_parameters"] |= changes
        torch.save(checkpoint, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return save


ENCODER = "strangers.Encoder"
HOSTILE = {
    "class": {"image_encoder": {"class_path": ENCODER}},
    "text": {"image_encoder": ENCODER},
    "json in a text": {"image_encoder": '{"class_path": "strangers.Encoder"}'},
    "yaml in a text": {"image_encoder": "class_path: strangers.Encoder"},
    "file": {"image_encoder": "encoder.yaml"},
    "callable": {"optimizer": {"class_path": "strangers.system"}},
    "deep": {"text_encoder": {**TEXT_ENCODER, "init_args": {"tokenizer": "strangers.system"}}},
    "deeper": {"relevance": {"relevance_loss": [{"init_args": {"losses": {"a": {"class_path": ENCODER}}}}]}},
    "standard library": {"optimizer": "subprocess.Popen"},
    "through one of ours": {"optimizer": "vse_lightning.checks.tempfile.mktemp"},
    "through torch": {"optimizer": "torch.nn.functional.importlib"},
    "the command": {"optimizer": "vse_lightning.cli.main"},
    "other torch": {"image_encoder": {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": "a/b"}}},
    "remote code": {"image_encoder": {**TEXT_ENCODER, "init_args": {"trust_remote_code": True}}},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=list(HOSTILE))
def test_code_that_a_checkpoint_asks_for_is_refused_before_it_is_imported(theirs, saved, tmp_path, changes):
    (tmp_path / "encoder.yaml").write_text("class_path: strangers.Encoder\n")
    path = saved(**changes)
    message = r"checkpoint .*changed\.ckpt names .*code that only a checkpoint asks for is not run.*--trust"
    with pytest.raises(ValueError, match=message):
        load_retriever(path)
    with pytest.raises(ValueError, match=message):
        DualEncoder.load_from_checkpoint(path)
    with path.open("rb") as file, pytest.raises(ValueError, match=message):
        DualEncoder.load_from_checkpoint(file)
    assert not theirs.exists()


def test_what_the_user_trusts_is_built(theirs, saved):
    path = saved(image_encoder={"class_path": ENCODER})
    assert type(load_retriever(path, trust=["strangers"]).image_encoder).__name__ == "Encoder"
    assert theirs.exists()
    with path.open("rb") as file:
        assert DualEncoder.load_from_checkpoint(file, trust=[ENCODER]).image_encoder.input_dim == 5
    remote = saved(image_encoder={"class_path": ENCODER, "init_args": {"trust_remote_code": True}})
    with pytest.raises(ValueError, match="names trust_remote_code"):
        load_retriever(remote, trust=["strangers"])
    load_retriever(remote, trust=["strangers", "trust_remote_code"])
    with pytest.raises(ValueError, match=r"names strangers\.system \(optimizer\)"):
        load_retriever(saved(optimizer="strangers.system"), trust=["strangers"])
    with pytest.raises(ValueError, match="trust must be several in a tuple or list, got 'strangers'"):
        load_retriever(path, trust="strangers")


def test_an_encoder_that_is_given_is_not_asked_of_the_checkpoint(theirs, saved):
    path = saved(image_encoder={"class_path": ENCODER})
    own = FeatureImageEncoder(5, embed_dim=6)
    assert DualEncoder.load_from_checkpoint(path, image_encoder=own).image_encoder is own
    assert not theirs.exists()


def test_ours_and_pytorchs_and_names_of_models_are_no_strangers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50.a1_in1k").write_text("weights\n")
    tree = {
        "encoder": {"class_path": "vse_lightning.models.TimmImageEncoder", "init_args": {"model": "resnet50.a1_in1k"}},
        "loss": {"class_path": "vse_lightning.losses.TripletLoss"},
        "optimizer": f"{Adam.__module__}.Adam",
        "schedules": ["torch.optim.lr_scheduler.StepLR", "lightning.pytorch.cli.ReduceLROnPlateau"],
        "activation": "torch.nn.functional.gelu",
        "others": ["val/rsum", "a photo of: {}", "openai/clip-vit-base-patch32", "v1.0", 3, None, True, "gone.MyLoss"],
        "trust_remote_code": False,
    }
    require_trusted("a.ckpt", tree)


@pytest.mark.parametrize("command", ["test", "predict", "validate", "fit", "search", "export"])
def test_the_command_refuses_with_one_message(theirs, saved, tmp_path, command):
    path = saved(image_encoder={"class_path": ENCODER})
    words = [sys.executable, "-m", "vse_lightning", command, "--ckpt_path", str(path)]
    (tmp_path / "a.jpg").touch()
    words += ["--index=a.index", "--images=."] if command == "search" else []
    words += ["--data=ImageTextDataModule", "--data.source=ShapesSource"] if command not in ("search", "export") else []
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (2, 1), result.stderr
    assert "names strangers.Encoder (" in result.stderr
    assert not theirs.exists()
