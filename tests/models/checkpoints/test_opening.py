import os
import subprocess
import sys

import pytest
import torch
from lightning import LightningModule, Trainer

from vse_lightning.cli.compared_training import ComparingCLI
from vse_lightning.data import ShapesSource
from vse_lightning.models import (
    CLIPRetriever,
    DualEncoder,
    GRUTextEncoder,
    TimmImageEncoder,
    TransformerTextEncoder,
    load_retriever,
)

pytest.importorskip("PIL")
pytest.importorskip("timm")
pytest.importorskip("scipy")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

SMALL = [
    "--config=quickstart.yaml",
    "--model.init_args.image_encoder.init_args.embed_dim=8",
    "--model.init_args.text_encoder.init_args.embed_dim=8",
    "--data.init_args.source.init_args.num_images=20",
    "--trainer.accelerator=cpu",
]

# Runs in a fresh process, in another folder; any connection is an error.
RELOAD = """
import socket, sys

def refuse(*args, **kwargs):
    raise RuntimeError("the network was touched")

socket.socket.connect = refuse
from vse_lightning.models import load_retriever
for path in sys.argv[1:]:
    retriever = load_retriever(path)
    print(type(retriever).__name__, retriever.training, retriever.device)
"""


class Unrun(ComparingCLI):
    def _run_subcommand(self, subcommand):
        pass


class Other(LightningModule):
    pass


class Mine(DualEncoder):
    pass


def saved(model, path):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


def encoders():
    text = GRUTextEncoder(word_dim=4, embed_dim=8, min_count=1)
    text.fit(["a black dog"])
    return TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32), text


@pytest.fixture(scope="module")
def of_cli(tmp_path_factory):
    """A model that LightningCLI built from a config, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained here")
    model = Unrun(["fit", *SMALL, f"--trainer.default_root_dir={folder}"]).model
    model.fit_text(ShapesSource(20).captions)
    return model, saved(model, folder / "best.ckpt")


def test_every_class_is_restored_from_its_path_alone(of_cli, tiny_clip, tmp_path):
    model, path = of_cli
    of_python = saved(CLIPRetriever(str(tiny_clip)), tmp_path / "clip.ckpt")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RELOAD, str(path), str(of_python)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines() == ["DualEncoder False cpu", "CLIPRetriever False cpu"], result.stderr
    again = load_retriever(path)
    texts = ["a red circle", "two small squares"]
    model.eval()
    torch.testing.assert_close(
        again.encode_texts(again.text_transform()(texts)), model.encode_texts(model.text_transform()(texts))
    )


class Pixels(torch.nn.Flatten):
    """An encoder of somebody's own, which does not say how it was made."""


def test_encoders_of_ones_own_are_asked_for(tmp_path):
    path = saved(DualEncoder(Pixels(), encoders()[1]), tmp_path / "python.ckpt")
    with pytest.raises(ValueError, match=r"lacks image_encoder: restore it with "):
        load_retriever(path)
    with pytest.raises(ValueError, match=r"DualEncoder\.load_from_checkpoint\(path, image_encoder=\.\.\.\)"):
        load_retriever(path)
    own = Pixels()
    assert DualEncoder.load_from_checkpoint(path, image_encoder=own).image_encoder is own  # the remedy


def test_classes_that_were_not_imported_are_not_run(of_cli, tmp_path):
    checkpoint = torch.load(of_cli[1], weights_only=True)
    checkpoint["hyper_parameters"]["_class_path"] = "antigravity.Retriever"
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match=r"names antigravity\.Retriever .*--trust antigravity"):
        load_retriever(tmp_path / "foreign.ckpt")
    assert "antigravity" not in sys.modules
    checkpoint["hyper_parameters"]["_class_path"] = f"{__name__}.Mine"
    torch.save(checkpoint, tmp_path / "mine.ckpt")
    assert type(load_retriever(tmp_path / "mine.ckpt")).__name__ == "Mine"


def test_what_is_no_retriever_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint: nothing at"):
        load_retriever(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="checkpoint must be a file, got the folder"):
        load_retriever(tmp_path)
    (tmp_path / "text.ckpt").write_text("weights")
    with pytest.raises(ValueError, match=r"text\.ckpt cannot be read without unpickling"):
        load_retriever(tmp_path / "text.ckpt")
    torch.save({"object": TransformerTextEncoder}, tmp_path / "pickled.ckpt")
    with pytest.raises(ValueError, match=r"pickled\.ckpt cannot be read without unpickling"):
        load_retriever(tmp_path / "pickled.ckpt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match="must be one that Lightning wrote"):
        load_retriever(tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match="must be of a Retriever such as DualEncoder, but names no class"):
        load_retriever(saved(Other(), tmp_path / "other.ckpt"))
    named = torch.load(tmp_path / "other.ckpt", weights_only=True)
    torch.save({**named, "hyper_parameters": {"_class_path": "lightning.LightningModule"}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"must be of a Retriever such as DualEncoder, got lightning\.LightningModule"):
        load_retriever(tmp_path / "other.ckpt")
