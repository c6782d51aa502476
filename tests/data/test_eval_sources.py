"""Further sources beside the target: the same numbers as each alone, and what a fit has done to them."""

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vse_lightning.callbacks import BeforeAndAfter
from vse_lightning.cli import main
from vse_lightning.cli.label import precompute
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder
from vse_lightning.relevance import CIDErRelevance, PrecomputedRelevance

for needed in ("PIL", "timm", "scipy"):
    pytest.importorskip(needed)

TARGET, OTHER = (ShapesSource(num_images=40, image_size=32, seed=seed) for seed in (0, 1))
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def data(source=TARGET, labels=None, **arguments):
    labels = {"known": "source", "cider": CIDErRelevance()} if labels is None else labels
    return ImageTextDataModule(source, eval_relevance=labels, batch_size=16, num_workers=0, **arguments)


def make(**metrics):
    torch.manual_seed(0)
    images = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=8, image_size=32)
    texts = GRUTextEncoder(word_dim=8, embed_dim=8, min_count=1)
    texts.fit(TARGET.captions)
    return DualEncoder(images, texts, ContrastiveLoss(), RetrievalMetrics(coherent_ks=(), **metrics), lr_warmup_steps=0)


def trainer_of(*callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return Trainer(callbacks=list(callbacks), **{"enable_checkpointing": False, **quiet, **options})


@pytest.mark.parametrize("stage", ["val", "test"])
def test_the_same_numbers_as_alone(stage):
    def measured(datamodule):
        trainer = trainer_of()
        run = trainer.validate if stage == "val" else trainer.test
        return {name: value for values in run(make(), datamodule, verbose=False) for name, value in values.items()}

    both = measured(data(eval_sources={"other": OTHER}))
    assert f"{stage}/t2i_ndcg_at_10_cider" in both
    train = TARGET.text_ids(TARGET.splits["train"])
    labels = CIDErRelevance().fit([TARGET.captions[row] for row in train.tolist()], TARGET.text_image_ids[train])
    alone = measured(data(OTHER, {"known": "source", "cider": Fitted(labels)}))
    others = {name.replace(f"{stage}/other_", f"{stage}/"): both[name] for name in both if "/other_" in name}
    assert others == alone
    assert {name: value for name, value in both.items() if "/other_" not in name} == measured(data())
    assert others[f"{stage}/t2i_ndcg_at_10"] != both[f"{stage}/t2i_ndcg_at_10"]


def test_callbacks_that_ask_for_labels_afterwards_get_those_of_the_target():
    model, datamodule = make(), data(eval_sources={"other": OTHER})
    trainer_of().test(model, datamodule, verbose=False)
    tables = model.retrieval_tables(model.retrieval_metrics)
    assert list(tables.values()) == list(datamodule.eval_relevance_tables.values())


class Fitted(CIDErRelevance):
    """Labels that were fitted elsewhere."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def fit(self, *args, **kwargs):
        return self

    def table(self, *args, **kwargs):
        return self.labels.table(*args, **kwargs)


def fit(folder, epochs, *callbacks, path=None, **arguments):
    model = make()
    checkpoint = ModelCheckpoint(folder, monitor="val/rsum", mode="max", save_last=True)
    trainer = trainer_of(*callbacks, checkpoint, max_epochs=epochs, enable_checkpointing=True, num_sanity_val_steps=0)
    torch.manual_seed(0)
    datamodule = data(relevance="source", labels={}, **arguments)
    trainer.fit(model, datamodule, ckpt_path=path, weights_only=None if path is None else True)
    return model, trainer


def test_before_and_after_are_what_validation_says_and_training_is_as_without(tmp_path):
    callback = BeforeAndAfter()
    callback.load_state_dict({"before": {"val/rsum": 0.0}, "validations": [{"val/rsum": 600.0}]})  # an earlier fit
    further = {"eval_sources": {"other": OTHER}}
    model, trainer = fit(tmp_path / "with", 2, callback, **further)
    plain, _ = fit(tmp_path / "without", 2, **further)
    for name, weight in plain.named_parameters():
        assert torch.equal(dict(model.named_parameters())[name], weight), name

    def validated(path=None):
        logged = trainer_of().validate(make(), data(labels={}, **further), path, weights_only=True, verbose=False)
        return {name: value for values in logged for name, value in values.items()}

    assert callback.before == validated()
    assert callback.after == validated(trainer.checkpoint_callback.best_model_path)
    assert len(callback.state_dict()["validations"]) == 2
    assert callback.before["val/other_rsum"] != callback.after["val/other_rsum"]


def test_a_resumed_fit_remembers_both(tmp_path):
    whole, resumed = BeforeAndAfter(), BeforeAndAfter()
    fit(tmp_path / "whole", 2, whole)
    fit(tmp_path / "parts", 1, BeforeAndAfter())
    fit(tmp_path / "parts", 2, resumed, path=tmp_path / "parts" / "last.ckpt")
    assert (resumed.before, resumed.after) == (whole.before, whole.after)
    assert len(resumed.state_dict()["validations"]) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["i2t_set"], r"eval_sources must have names without words of metrics \(i2t\), got 'i2t_set'"),
        (["my.set"], "eval_sources must have names of letters, digits"),
        (["a", "a_b"], "eval_sources must have no name that begins with another, got 'a' and 'a_b'"),
        (["interpolated"], "eval_sources must not be named as weights are, got 'interpolated'"),
    ],
)
def test_names_can_stand_before_those_of_metrics(names, message):
    with pytest.raises(ValueError, match=message):
        data(eval_sources=dict.fromkeys(names, OTHER))


def test_what_cannot_be_measured_is_said():
    without = ShapesSource(num_images=40, image_size=32, seed=1)
    del without.splits["val"]
    with pytest.raises(ValueError, match=r"eval_sources\['other'\] must have the split 'val' as source has, got only"):
        trainer_of().validate(make(), data(eval_sources={"other": without}), verbose=False)
    model = make(relevance=TARGET.relevance_table())
    with pytest.raises(ValueError, match="is of the target's texts: leave it out where 'other' is measured too"):
        trainer_of().validate(model, data(eval_sources={"other": OTHER}), verbose=False)


def test_labels_must_be_of_each_source(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((len(TARGET.captions), 2), np.float32))
    labels = {"own": PrecomputedRelevance(tmp_path / "vectors.npy")}
    data(labels=labels).setup("validate")
    small = ShapesSource(num_images=10, image_size=32)
    with pytest.raises(ValueError, match="one row for each of the 50 captions of the data set, got 200 rows"):
        data(labels=labels, eval_sources={"small": small}).setup("validate")


def test_labels_of_all_sources_are_precomputed():
    labels = Remembering()
    datamodule = data(labels={"sbert": labels}, eval_sources={"other": OTHER})
    datamodule.setup("predict")
    precompute(datamodule)
    assert labels.asked == [datamodule.eval_captions, datamodule.eval_source_captions["other"]]
    assert labels.asked[1] == [OTHER.captions[row] for row in OTHER.text_ids(torch.arange(32, 40)).tolist()]


class Remembering(CIDErRelevance):
    def __init__(self):
        super().__init__()
        self.asked = []

    def precompute(self, captions, force=False):
        self.asked.append(captions)
        return []


def test_from_yaml_fit_tells_what_was_gained_and_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.yaml").write_text(
        "trainer: {callbacks+: [{class_path: vse_lightning.callbacks.WeightInterpolation}]}\n"
        "data: {init_args: {eval_sources: {other: {class_path: vse_lightning.data.ShapesSource,"
        " init_args: {num_images: 40, image_size: 32, seed: 1}}}}}\n"
    )
    config = ["--config=quickstart.yaml", "--config=relevance/cider.yaml", "--config=more.yaml"]
    config += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.init_args.num_workers=0"]
    config += ["--data.init_args.source.init_args.num_images=40", "--data.init_args.batch_size=32"]
    main(["fit", *config, "--compare_with=null", "--trainer.max_epochs=1"])
    printed = capsys.readouterr().out
    changes, tested = printed[printed.index("validation, before → after") :].split("\ntest ")
    for row in (
        "rsum ",
        "rsum/other ",
        "rsum/interpolated ",
        "rsum/other/interpolated ",
        "NDCG@10 (scene attributes)/other ",
    ):
        assert f"│ {row}" in changes
        assert f"│ {row}" in tested
    assert changes.count("→") > 20
    (log,) = tmp_path.rglob("metrics.csv")
    logged = log.read_text().splitlines()[0].split(",")
    assert {"test/rsum", "test/other_rsum", "test/interpolated_rsum", "val/interpolated_other_rsum"} <= set(logged)
