"""Checkpoints on disk: whole, or one message that names the file."""

import random

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from vse_lightning.array_files import require_whole_zip
from vse_lightning.models import DualEncoder, load_retriever
from vse_lightning.models.checkpoints.checkpoint_files import CheckpointFiles


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"weight": torch.arange(1000.0)}, "hyper_parameters": {}}, path)
    return path


def damage_of(path):
    try:
        require_whole_zip(f"checkpoint {path}", path)
    except ValueError as error:
        return str(error)
    return ""


def weight_in(path):
    try:
        return torch.load(path, weights_only=True)["state_dict"]["weight"]
    except Exception:
        return None


def test_no_flipped_bit_gives_other_weights_unnoticed(checkpoint):
    content, chance = checkpoint.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        checkpoint.write_bytes(damaged)
        found, said = weight_in(checkpoint), damage_of(checkpoint)
        noticed += said.startswith(f"checkpoint {checkpoint} is damaged")
        assert said or found is None or torch.equal(found, torch.arange(1000.0))
    assert noticed > 100


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("read", [load_retriever, DualEncoder.load_from_checkpoint, CheckpointFiles().load_checkpoint])
def test_a_file_that_was_cut_off_is_one_message(checkpoint, share, read):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"checkpoint /.*/a.ckpt is damaged: it is empty|a.ckpt is damaged, as a file"):
        read(checkpoint)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_goes_on_from_what_was_written_and_not_from_what_was_damaged(tmp_path):
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=1, limit_train_batches=1, plugins=[CheckpointFiles()], **options)
    trainer.strategy.connect(BoringModel())
    path = tmp_path / "new" / "a.ckpt"
    trainer.save_checkpoint(path)
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]
    trainer.fit(BoringModel(), ckpt_path=path, weights_only=True)
    content = bytearray(path.read_bytes())
    place = content.index(torch.load(path, weights_only=True)["state_dict"]["layer.weight"].numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.ckpt is damaged: the checksum of a/data/\d differs"):
        trainer.fit(BoringModel(), ckpt_path=path, weights_only=True)
