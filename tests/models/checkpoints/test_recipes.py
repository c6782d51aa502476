import copy
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import (
    DualEncoder,
    FeatureImageEncoder,
    GRUTextEncoder,
    TimmImageEncoder,
    TransformerTextEncoder,
    load_retriever,
)
from vse_lightning.models.checkpoints.recipes import recipe

# LightningCLI's instantiate_module calls what jsonargparse has renamed
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:jsonargparse", "ignore::DeprecationWarning:lightning"
)
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Pixels(torch.nn.Linear):
    """An encoder of somebody's own, which does not say how it was made."""

    def transform(self, train):
        return torch.flatten


class Wider(GRUTextEncoder):
    """A subclass with arguments of its own."""

    def __init__(self, factor, **options):
        super().__init__(embed_dim=4 * factor, **options)


class Mine(DualEncoder):
    """A model with a constructor of its own."""

    def __init__(self, width: int):
        super().__init__(FeatureImageEncoder(6, width), fitted(GRUTextEncoder(4, width, min_count=1)))


def fitted(text_encoder):
    text_encoder.fit(["a black dog", "a red ball"])
    return text_encoder


def saved(model, path):
    trainer = Trainer(**QUIET)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


def assert_same_embeddings(first, second, image):
    text = ["a black dog", "a green ball"]
    for model in (first, second):
        model.eval()
    with torch.no_grad():
        torch.testing.assert_close(first.encode_images(image), second.encode_images(image))
        texts = [model.encode_texts(model.text_transform()(text)) for model in (first, second)]
        torch.testing.assert_close(*texts)


def test_a_model_made_and_trained_in_python_is_restored_from_its_path(tmp_path):
    pytest.importorskip("timm")
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("circle 1 2 3 4\n")
    image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32, crop_scale=(0.5, 1))
    text_encoder = GRUTextEncoder(4, 8, min_count=1, vectors=str(vectors))
    model = DualEncoder(image_encoder, text_encoder, ContrastiveLoss(), RetrievalMetrics(ndcg_ks=(), coherent_ks=()))
    data = ImageTextDataModule(ShapesSource(num_images=40, image_size=32), batch_size=16, num_workers=0)
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(model, data)
    (tested,) = trainer.test(model, data, verbose=False)
    vectors.unlink()

    path = trainer.checkpoint_callback.best_model_path
    restored = DualEncoder.load_from_checkpoint(path, weights_only=True)
    assert restored.image_encoder.crop_scale == (0.5, 1)
    assert_same_embeddings(model, restored, torch.rand(2, 3, 32, 32))
    # loss and metrics are given again
    metrics = RetrievalMetrics(ndcg_ks=(), coherent_ks=())
    measured = DualEncoder.load_from_checkpoint(path, relevance_loss=ContrastiveLoss(), retrieval_metrics=metrics)
    assert Trainer(**QUIET).test(measured, data, verbose=False) == [tested]
    assert measured.relevance_loss.state_dict() == model.relevance_loss.state_dict() != {}
    # and what was restored can be saved and restored again
    again = load_retriever(saved(restored, tmp_path / "again.ckpt"))
    assert_same_embeddings(model, again, torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("kind", [str, Path])
def test_features_and_a_transformer_are_restored_without_its_folder(tiny_bert, tmp_path, kind):
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    model = DualEncoder(FeatureImageEncoder(6, embed_dim=8), TransformerTextEncoder(kind(folder), embed_dim=8))
    path = saved(model, tmp_path / "model.ckpt")
    shutil.rmtree(folder)
    assert_same_embeddings(model, DualEncoder.load_from_checkpoint(path), torch.rand(2, 5, 6))


def test_encoders_of_ones_own_are_given_again(tmp_path):
    model = DualEncoder(Pixels(6, 8), fitted(GRUTextEncoder(4, 8, min_count=1)))
    path = saved(model, tmp_path / "model.ckpt")
    with pytest.raises(Exception, match=r"(?s)image_encoder.*load_from_checkpoint\(path, image_encoder=\.\.\.\)"):
        DualEncoder.load_from_checkpoint(path)
    own = Pixels(6, 8)
    restored = DualEncoder.load_from_checkpoint(path, image_encoder=own)
    assert restored.image_encoder is own
    assert_same_embeddings(model, restored, torch.rand(2, 6))


def test_other_errors_are_left_alone(tmp_path):
    path = saved(Mine(width=8), tmp_path / "model.ckpt")
    with pytest.raises(TypeError, match=r"metrics must be of vse_lightning\.metrics .* got builtins.int") as error:
        DualEncoder.load_from_checkpoint(
            path, image_encoder=Pixels(6, 8), text_encoder=Pixels(6, 8), retrieval_metrics=3
        )
    assert not hasattr(error.value, "__notes__")


def test_a_subclass_saves_arguments_of_its_own(tmp_path):
    model = Mine(width=8)
    restored = load_retriever(saved(model, tmp_path / "model.ckpt"))
    assert type(restored) is Mine
    assert_same_embeddings(model, restored, torch.rand(2, 6))


def test_arguments_are_those_given_by_place_by_name_and_through():
    assert recipe(GRUTextEncoder(4, embed_dim=8))["init_args"] == {"word_dim": 4, "embed_dim": 8}
    wider = recipe(Wider(2, word_dim=4))
    assert wider["class_path"].endswith("test_recipes.Wider")
    assert wider["init_args"] == {"factor": 2, "word_dim": 4}


def test_copies_were_made_the_same_way():
    encoder = FeatureImageEncoder(6, embed_dim=8)
    assert recipe(copy.deepcopy(encoder)) == recipe(pickle.loads(pickle.dumps(encoder))) == recipe(encoder)


def test_what_no_checkpoint_can_hold_is_no_recipe():
    assert recipe(torch.nn.Linear(1, 1)) is None
    assert recipe(FeatureImageEncoder(torch.tensor(6).item())) == recipe(FeatureImageEncoder(6))
