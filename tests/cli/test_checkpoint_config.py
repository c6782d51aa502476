"""Who wins: the command line, then configs, then what a checkpoint remembers."""

import inspect
import sys

import pytest
import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI

from vse_lightning.cli.errors import told
from vse_lightning.cli.program import main
from vse_lightning.cli.training import RetrievalCLI
from vse_lightning.losses import LSEHLoss, TripletLoss
from vse_lightning.models import DualEncoder, FeatureImageEncoder, GRUTextEncoder

pytest.importorskip("timm")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
DATA = """
data:
  class_path: vse_lightning.data.ImageTextDataModule
  init_args:
    source: {class_path: vse_lightning.data.ShapesSource, init_args: {num_images: 40, image_size: 32}}
    relevance: source
    batch_size: 8
    num_workers: 0
trainer:
  accelerator: cpu
  max_epochs: 1
  limit_train_batches: 1
  enable_progress_bar: false
  enable_model_summary: false
"""
MODEL = """
model:
  class_path: vse_lightning.models.DualEncoder
  init_args:
    image_encoder:
      class_path: vse_lightning.models.TimmImageEncoder
      init_args: {model: test_resnet, pretrained: false, embed_dim: 8, image_size: 32}
    text_encoder:
      class_path: vse_lightning.models.GRUTextEncoder
      init_args: {word_dim: 8, embed_dim: 8, min_count: 1}
    relevance_loss: {class_path: vse_lightning.losses.LSEHLoss, init_args: {margin: 0.3}}
    retrieval_metrics: {class_path: vse_lightning.metrics.RetrievalMetrics}
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.1}}
"""
INIT = "--model.init_args"


class ParseOnly(RetrievalCLI):
    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass

    def _set_seed(self):
        pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a model with options that the configs do not say: weight decay, two folds, GPO, a warm-up."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data.yaml").write_text(DATA)
    (folder / "model.yaml").write_text(MODEL)
    options = [f"{INIT}.optimizer.init_args.weight_decay=0.1", f"{INIT}.retrieval_metrics.init_args.folds=2"]
    options += [f"{INIT}.text_encoder.init_args.pooling=mean", f"{INIT}.lr_warmup_steps=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--config", "data.yaml", "--config", "model.yaml", *options])
    (checkpoint,) = folder.rglob("*.ckpt")
    checkpoint.rename(folder / "trained.ckpt")
    return folder


@pytest.fixture
def parsed(trained, monkeypatch, tmp_path, capsys):
    """What the command makes of a command line, the arguments of the model and the lines that it prints."""

    def parse(command, *args, model=""):
        monkeypatch.chdir(trained)
        if model:
            (tmp_path / "mine.yaml").write_text(model)
            args = [*args, "--config", str(tmp_path / "mine.yaml")]
        cli = ParseOnly([command, "--config", "data.yaml", "--ckpt_path", "trained.ckpt", *args])
        text = cli.parser.dump(cli.config, skip_none=False, format="yaml")
        dumped = yaml.safe_load(text)
        return dumped[command]["model"]["init_args"], capsys.readouterr().out.splitlines()

    return parse


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_config_of_data_is_enough(parsed, command):
    arguments, lines = parsed(command)
    assert arguments["text_encoder"]["init_args"]["pooling"] == "mean"
    assert arguments["relevance_loss"]["init_args"]["margin"] == 0.3
    assert arguments["retrieval_metrics"]["init_args"]["folds"] == 2
    assert arguments["optimizer"]["init_args"]["weight_decay"] == 0.1
    assert lines == []


def test_a_single_option_changes_what_is_remembered(parsed):
    arguments, lines = parsed("fit", f"{INIT}.optimizer.init_args.lr=0.7")
    assert arguments["optimizer"]["class_path"] == "torch.optim.Adam"
    assert arguments["optimizer"]["init_args"]["lr"] == 0.7
    assert arguments["optimizer"]["init_args"]["weight_decay"] == 0.1
    assert arguments["relevance_loss"]["init_args"]["margin"] == 0.3
    assert lines == ["model.optimizer.lr: 0.1 in the checkpoint, 0.7 now"]


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_config_means_the_loss_the_metrics_and_the_optimizer_as_it_names_them(parsed, command):
    changed = MODEL.replace("LSEHLoss, init_args: {margin: 0.3}", "LSEHLoss").replace("lr: 0.1", "lr: 0.2")
    arguments, lines = parsed(command, model=changed)
    assert arguments["relevance_loss"]["init_args"]["margin"] == LSEHLoss().margin
    assert arguments["retrieval_metrics"]["init_args"]["folds"] == 1
    assert arguments["optimizer"]["init_args"]["lr"] == 0.2
    assert arguments["optimizer"]["init_args"]["weight_decay"] == 0
    assert arguments["text_encoder"]["init_args"]["pooling"] == "mean"  # or the weights would not fit
    assert arguments["lr_warmup_steps"] == 3
    assert sorted(lines) == [
        "model.lr_warmup_steps: 3 as in the checkpoint, 0 without it",
        "model.optimizer.lr: 0.1 in the checkpoint, 0.2 now",
        "model.optimizer.weight_decay: 0.1 in the checkpoint, 0.0 now",
        "model.relevance_loss.margin: 0.3 in the checkpoint, 0.185 now",
        "model.retrieval_metrics.folds: 2 in the checkpoint, 1 now",
        "model.text_encoder.pooling: mean as in the checkpoint, last without it",
    ]


def test_nothing_of_one_class_is_handed_on_to_another(parsed):
    named = f"{INIT}.relevance_loss=vse_lightning.losses.TripletLoss"
    arguments, lines = parsed("fit", named, f"{INIT}.optimizer=torch.optim.AdamW")
    assert arguments["relevance_loss"]["init_args"]["margin"] == 0.2
    assert arguments["optimizer"]["init_args"]["lr"] == 0.001
    assert arguments["optimizer"]["init_args"]["weight_decay"] == 0.01
    assert sorted(lines) == [
        "model.optimizer: Adam in the checkpoint, AdamW now",
        "model.relevance_loss: LSEHLoss in the checkpoint, TripletLoss now",
    ]


def test_a_weighted_sum_replaces_a_loss(parsed):
    listwise = """
model:
  init_args:
    relevance_loss:
      class_path: vse_lightning.losses.WeightedSumLoss
      init_args:
        losses:
          smooth_ndcg: {class_path: vse_lightning.losses.SmoothNDCGLoss}
        weights: {smooth_ndcg: 0.5}
"""
    arguments, lines = parsed("fit", "--config", "model.yaml", model=listwise)
    assert list(arguments["relevance_loss"]["init_args"]["losses"]) == ["smooth_ndcg"]
    assert "model.relevance_loss: LSEHLoss in the checkpoint, WeightedSumLoss now" in lines
    assert not any("margin" in line for line in lines)


def test_the_order_of_losses_is_no_difference(parsed, trained):
    def summed(*names):
        terms = ", ".join(f"{name}: {{class_path: vse_lightning.losses.TripletLoss}}" for name in names)
        path = "model: {init_args: {relevance_loss: {class_path: vse_lightning.losses.WeightedSumLoss, init_args: "
        return f"{path}{{losses: {{{terms}}}, weights: {{b: 1.0, a: 2.0}}}}}}}}}}"

    checkpoint = torch.load(trained / "trained.ckpt", weights_only=True)
    loss = yaml.safe_load(summed("b", "a"))["model"]["init_args"]["relevance_loss"]
    checkpoint["hyper_parameters"]["relevance_loss"] = loss
    torch.save(checkpoint, trained / "summed.ckpt")
    for names in ("b", "a"), ("a", "b"):
        arguments, lines = parsed("test", "--ckpt_path", "summed.ckpt", model=summed(*names))
        assert list(arguments["relevance_loss"]["init_args"]["losses"]) == list(names)
        assert lines == []


def test_the_command_line_beats_a_config_wherever_it_stands(parsed):
    first = f"{INIT}.retrieval_metrics.init_args.folds=4"
    arguments, lines = parsed("test", first, "--config", "model.yaml", "--trainer.max_epochs=2")
    assert arguments["retrieval_metrics"]["init_args"]["folds"] == 4
    assert "model.retrieval_metrics.folds: 2 in the checkpoint, 4 now" in lines


def test_null_is_said_too(parsed):
    arguments, lines = parsed("fit", f"{INIT}.relevance_loss=null", f"{INIT}.lr_warmup_steps=0")
    assert arguments["relevance_loss"] is None
    assert arguments["lr_warmup_steps"] == 0
    assert "model.relevance_loss: LSEHLoss in the checkpoint, none now" in lines


def test_what_cannot_be_imported_is_left_out_with_a_word(parsed, trained):
    checkpoint = torch.load(trained / "trained.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["relevance_loss"]["class_path"] = "gone.MyLoss"
    torch.save(checkpoint, trained / "gone.ckpt")
    arguments, lines = parsed("test", "--ckpt_path", "gone.ckpt")
    assert arguments["relevance_loss"] is None
    assert arguments["retrieval_metrics"]["init_args"]["folds"] == 2
    assert lines == ["model.relevance_loss: gone.MyLoss of the checkpoint is not here, so that it counts for nothing"]


STRANGERS = """
from vse_lightning.models import FeatureImageEncoder

class Encoder(FeatureImageEncoder):
    def __init__(self, input_dim: int = 5, embed_dim: int = 8):
        super().__init__(input_dim, embed_dim)
"""


def test_classes_of_others_are_those_of_the_users_config_or_trusted(parsed, trained, monkeypatch):
    (trained / "strangers_of_config.py").write_text(STRANGERS)
    monkeypatch.syspath_prepend(str(trained))
    name = "strangers_of_config.Encoder"
    checkpoint = torch.load(trained / "trained.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["image_encoder"] = {"class_path": name, "init_args": {"input_dim": 7}}
    torch.save(checkpoint, trained / "strange.ckpt")
    with pytest.raises(ValueError, match=r"names strangers_of_config\.Encoder .*: --trust strangers_of_config"):
        parsed("test", "--ckpt_path", "strange.ckpt")
    assert "strangers_of_config" not in sys.modules
    for words in (
        ["--trust", "strangers_of_config"],
        ["--trust=[elsewhere, strangers_of_config]"],
        ["--trust", name],
        [f"{INIT}.image_encoder={name}"],
    ):
        arguments, _ = parsed("test", "--ckpt_path", "strange.ckpt", *words)
        assert arguments["image_encoder"] == {"class_path": name, "init_args": {"input_dim": 7, "embed_dim": 8}}
    mine = f"model: {{init_args: {{image_encoder: {{class_path: {name}}}}}}}"
    assert parsed("test", "--ckpt_path", "strange.ckpt", model=mine)[0]["image_encoder"]["init_args"]["input_dim"] == 7
    assert parsed("test", "--ckpt_path", "strange.ckpt", model="trust: [strangers_of_config]")


def test_a_configuration_of_another_version_does_not_stand_in_the_way(parsed, trained):
    checkpoint = torch.load(trained / "trained.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["text_encoder"]["init_args"]["renamed"] = 3
    torch.save(checkpoint, trained / "old.ckpt")
    arguments, lines = parsed("test", "--config", "model.yaml", "--ckpt_path", "old.ckpt")
    assert arguments["retrieval_metrics"]["init_args"]["folds"] == 1
    assert lines[0].startswith("old.ckpt: its configuration is none of this version, so that only yours counts: ")
    assert lines[0].endswith("Option 'renamed' is not accepted")


def test_lightning_reads_a_checkpoint_where_the_command_does_it_in_its_own_way():
    """An override that Lightning no longer calls would let the checkpoint win."""
    assert "_parse_ckpt_path" in vars(LightningCLI)
    assert "self._parse_ckpt_path()" in inspect.getsource(LightningCLI.__init__)


def test_a_checkpoint_made_in_python_brings_its_encoders(parsed, trained):
    words = GRUTextEncoder(word_dim=4, embed_dim=6, min_count=1, pooling="max")
    words.fit(["a dog"])
    model = DualEncoder(FeatureImageEncoder(5, embed_dim=6), words, TripletLoss(margin=0.4), lr_warmup_steps=7)
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(trained / "python.ckpt")
    arguments, _ = parsed("predict", "--ckpt_path", "python.ckpt")
    assert arguments["image_encoder"]["init_args"]["input_dim"] == 5
    assert arguments["text_encoder"]["init_args"]["pooling"] == "max"
    assert arguments["lr_warmup_steps"] == 7
    assert arguments["relevance_loss"] is None


class Host(LightningModule):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)


def test_a_checkpoint_that_names_no_class_says_nothing(parsed, trained):
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(Host())
    trainer.save_checkpoint(trained / "host.ckpt")
    arguments, lines = parsed("test", "--model", f"{__name__}.Host", "--ckpt_path", "host.ckpt")
    assert arguments == {"width": 3}
    assert lines == []


def test_missing_and_wrong_checkpoints_are_named(parsed, trained):
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path: nothing at 'traned.ckpt': .* did you mean"):
        parsed("test", "--ckpt_path", "traned.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint .*data.yaml cannot be read without unpickling"):
        parsed("test", "--ckpt_path", "data.yaml")


def test_what_is_measured_and_trained_is_what_was_said(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    shared = ["--config", "data.yaml", "--config", "model.yaml", "--ckpt_path", "trained.ckpt"]
    main(["test", *shared, f"{INIT}.retrieval_metrics.init_args.rank_statistics=true"])
    printed = capsys.readouterr().out
    assert "model.retrieval_metrics.rank_statistics: False in the checkpoint, True now" in printed
    assert "median rank" in printed
    loss = [f"{INIT}.relevance_loss=vse_lightning.losses.TripletLoss", f"{INIT}.optimizer.init_args.lr=0.5"]
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=tuned", "--trainer.log_every_n_steps=1"]
    main(["fit", *shared, *loss, *logger, "--trainer.max_epochs=2", f"{INIT}.lr_warmup_steps=0"])
    assert "model.relevance_loss: LSEHLoss in the checkpoint, TripletLoss now" in capsys.readouterr().out
    (tuned,) = (trained / "tuned").rglob("*.ckpt")
    checkpoint = torch.load(tuned, weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5
    assert checkpoint["hyper_parameters"]["relevance_loss"]["class_path"] == "vse_lightning.losses.TripletLoss"
    (logged,) = (trained / "tuned").rglob("metrics.csv")
    assert "train/triplet" in logged.read_text().splitlines()[0]
    config = yaml.safe_load(next((trained / "tuned").rglob("config.yaml")).read_text())
    assert config["model"]["init_args"]["relevance_loss"]["class_path"] == "vse_lightning.losses.TripletLoss"


def test_weights_that_do_not_fit_are_one_message(trained, monkeypatch):
    monkeypatch.chdir(trained)
    widths = [f"{INIT}.{encoder}_encoder.init_args.embed_dim=4" for encoder in ("image", "text")]
    with pytest.raises(RuntimeError) as caught:
        main(["test", "--config", "data.yaml", "--ckpt_path", "trained.ckpt", *widths])
    assert told(caught.value)[1].startswith(
        "Error(s) in loading state_dict for DualEncoder:\n\tsize mismatch for image_e"
    )
