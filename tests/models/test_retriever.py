"""Retrievers of one's own: they hand on what they are given for the training."""

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

from vse_lightning.losses import TripletLoss
from vse_lightning.models import CLIPRetriever, DualEncoder, Retriever, load_retriever

OF_THE_TRAINING = {
    *("lr_interval", "lr_monitor", "lr_scheduler", "lr_warmup_steps", "optimizer", "relevance_chunk_size"),
    *("relevance_gather", "relevance_loss", "relevance_queue_size", "relevance_weight", "retrieval_metrics"),
}


class Sums(Retriever):
    """A retriever of somebody's own.

    Args:
        width: of the embeddings.
        training: further arguments of the retriever.
    """

    def __init__(self, width: int = 4, **training):
        super().__init__(**training)
        self.save_hyperparameters()
        self.image, self.text = nn.Linear(3, width), nn.Linear(2, width)

    def encode_images(self, image):
        return self.image(image)

    def encode_texts(self, text):
        return self.text(text)

    def image_transform(self, train):
        return None

    def text_transform(self):
        return torch.tensor


class Deeper(Sums):
    """One more, with an argument of its own."""

    def __init__(self, depth: int, **others):
        super().__init__(**others)
        self.save_hyperparameters()


def saved(model, path):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (DualEncoder, {"backbone_lr_factor", "image_encoder", "text_encoder"}),
        (
            CLIPRetriever,
            {"freeze", "gradient_checkpointing", "layer_decay", "lora", "max_length", "model", "pretrained"},
        ),
        (Sums, {"width"}),
        (Deeper, {"depth", "width"}),
    ],
)
def test_the_command_knows_all_arguments(cls, own):
    parser = LightningArgumentParser()
    parser.add_class_arguments(cls, "model", fail_untyped=False)
    names = {action.dest.removeprefix("model.") for action in parser._actions if action.dest.startswith("model.")}
    assert {name for name in names if not name.endswith(".help")} == own | OF_THE_TRAINING


def test_arguments_that_nobody_takes_are_named(tmp_path):
    with pytest.raises(TypeError, match="Sums takes no argument 'widht'"):
        Sums(widht=3)
    path = saved(Sums(width=3), tmp_path / "sums.ckpt")
    with pytest.raises(TypeError, match="Sums takes no argument 'relevance_wait'"):
        Sums.load_from_checkpoint(path, relevance_wait=1)


def test_checkpoints_of_ones_own(tmp_path):
    path = saved(Deeper(2, width=3, relevance_loss=TripletLoss(), relevance_weight=0.5), tmp_path / "deeper.ckpt")
    restored = load_retriever(path)
    assert type(restored) is Deeper
    assert dict(restored.hparams) == {"depth": 2, "width": 3}
    again = Deeper.load_from_checkpoint(path, relevance_loss=TripletLoss(), relevance_weight=2.0)
    assert again.relevance_weight == 2
    base = Sums.load_from_checkpoint(path)  # leaves out what only the subclass takes
    assert torch.equal(base.image.weight, restored.image.weight)
