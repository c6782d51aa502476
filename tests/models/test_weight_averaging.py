"""EMA and SWA by Lightning's own callbacks: what is averaged, saved, tested and trained further."""

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)

from vse_lightning.cli import main
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder

pytest.importorskip("PIL")
pytest.importorskip("timm")
pytest.importorskip("scipy")

WORD, SCALE = "text_encoder.word_vectors.weight", "relevance_loss.log_scale"
# LightningCLI's instantiate_module calls what jsonargparse has renamed
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:jsonargparse", "ignore::DeprecationWarning:lightning"
)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.5)


def make():
    torch.manual_seed(0)
    image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
    text_encoder = GRUTextEncoder(word_dim=8, embed_dim=8, min_count=1)
    return DualEncoder(
        image_encoder, text_encoder, ContrastiveLoss(), RetrievalMetrics(coherent_ks=(5,)), optimizer=sgd
    )


def data():
    source = ShapesSource(num_images=80, image_size=32)
    return ImageTextDataModule(source, "source", batch_size=32, num_workers=0)


class History(Callback):
    """The weights after every step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.steps.append({name: weight.detach().clone() for name, weight in pl_module.named_parameters()})

    def mean(self, name):
        return torch.stack([weights[name] for weights in self.steps]).mean(0)

    def exponential(self, name, decay):
        average = self.steps[0][name]
        for weights in self.steps[1:]:
            average = decay * average + (1 - decay) * weights[name]
        return average


@pytest.fixture
def trainer_with(tmp_path):
    def build(*callbacks, max_epochs=2):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        checkpoint = ModelCheckpoint(tmp_path / f"run {len(list(tmp_path.iterdir()))}")  # of the last epoch
        return Trainer(max_epochs=max_epochs, callbacks=[*callbacks, checkpoint], **quiet)

    return build


AVERAGES = {
    "ema": (lambda: EMAWeightAveraging(decay=0.9), lambda history, name: history.exponential(name, 0.9)),
    "mean": (WeightAveraging, History.mean),
}


@pytest.mark.parametrize("average", AVERAGES)
def test_the_average_is_what_is_saved_and_tested(average, trainer_with):
    callback, expected = AVERAGES[average]
    model, history = make(), History()
    trainer = trainer_with(history, callback())
    trainer.fit(model, data())
    trained = dict(model.named_parameters())
    for name in (WORD, SCALE, "image_encoder.projection.weight"):
        torch.testing.assert_close(trained[name].detach(), expected(history, name), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(trained[WORD], history.steps[-1][WORD], atol=1e-4)

    (in_memory,) = trainer.test(model, data(), verbose=False)
    last = trainer.checkpoint_callback.best_model_path
    restored = DualEncoder.load_from_checkpoint(last, retrieval_metrics=RetrievalMetrics(coherent_ks=(5,)))
    assert restored.text_encoder.vocabulary == model.text_encoder.vocabulary
    assert trainer_with().test(restored, data(), verbose=False) == [in_memory]
    # the trainer that trained it would go back to the weights that training goes on with
    assert trainer.test(model, data(), ckpt_path=last, weights_only=True, verbose=False) == [in_memory]
    for name, weight in restored.state_dict().items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(model.state_dict()[name], weight)


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_training_goes_on_with_the_weights_that_are_not_averaged(trainer_with):
    history = History()
    trainer = trainer_with(history, EMAWeightAveraging(decay=0.9))
    trainer.fit(make(), data())

    class Start(Callback):
        def on_train_start(self, trainer, pl_module):
            self.weights = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}

    start = Start()
    resumed = trainer_with(start, EMAWeightAveraging(decay=0.9), max_epochs=3)
    resumed.fit(make(), data(), ckpt_path=trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert resumed.global_step == len(history.steps) * 3 // 2
    for name, weight in start.weights.items():
        torch.testing.assert_close(weight, history.steps[-1][name])


def test_stochastic_weight_averaging_leaves_the_mean_of_its_epochs(trainer_with, tmp_path):
    starts = []

    class Starts(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            starts.append(pl_module.relevance_loss.log_scale.detach().clone())

    model = make()
    trainer = trainer_with(Starts(), StochasticWeightAveraging(swa_lrs=0.5, swa_epoch_start=2), max_epochs=3)
    trainer.fit(model, data())
    torch.testing.assert_close(model.relevance_loss.log_scale.detach(), torch.stack(starts[1:3]).mean(0))
    (tested,) = trainer.test(model, data(), verbose=False)
    trainer.save_checkpoint(tmp_path / "averaged.ckpt", weights_only=True)  # PyTorch 2.6 pickles the schedule of SWA
    restored = DualEncoder.load_from_checkpoint(
        tmp_path / "averaged.ckpt", retrieval_metrics=RetrievalMetrics(coherent_ks=(5,))
    )
    assert trainer_with().test(restored, data(), verbose=False) == [tested]


EMA = """
trainer:
  callbacks+:
    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
      init_args: {decay: 0.9}
"""


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_from_yaml_fit_ends_with_the_table_of_the_averaged_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ema.yaml").write_text(EMA)
    config = ["--config=quickstart.yaml", "--config=relevance/cider.yaml", "--config=ema.yaml"]
    config += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.init_args.num_workers=0"]
    config += ["--data.init_args.source.init_args.num_images=40", "--data.init_args.batch_size=32"]
    main(["fit", *config, "--compare_with=null", "--trainer.max_epochs=2"])
    fitted = capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("epoch*.ckpt")
    assert "averaging_state" in torch.load(checkpoint, weights_only=True)
    main(["test", *config, "--ckpt_path", str(checkpoint)])
    assert fitted[fitted.index("R@1") : fitted.index("checkpoint:")] in capsys.readouterr().out
