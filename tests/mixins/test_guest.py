"""The mixins as guests: a host's names, hyper-parameters, batches and targets stay as they are."""

import copy
import inspect

import pytest
import torch
from hosts import BareHost, PairHost, pairs
from lightning import LightningModule, Trainer
from lightning.pytorch.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from vse_lightning import (
    ContrastiveLoss,
    LadderLoss,
    RecallAtK,
    RelevanceLossMixin,
    RetrievalMetrics,
    RetrievalMetricsMixin,
    RetrievalTargets,
    TripletLoss,
)
from vse_lightning.relevance import FeatureTable

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
)


def table(count=1000):
    return FeatureTable(torch.randn(count, 64), torch.arange(count), label="random vectors")


class Mixed(RelevanceLossMixin, RetrievalMetricsMixin, PairHost):
    pass


def test_all_that_a_mixin_defines_carries_its_prefix():
    hooks = {name for base in (ModelHooks, DataHooks, CheckpointHooks, LightningModule) for name in vars(base)}
    for mixin in (RelevanceLossMixin, RetrievalMetricsMixin, *RelevanceLossMixin.__mro__[1:-1]):
        own = {name for name in vars(mixin) if not (name.startswith("__") and name.endswith("__"))}
        foreign = {name for name in own - hooks if not name.lstrip("_").startswith(("relevance_", "retrieval_"))}
        assert foreign <= {"save_hyperparameters"}, mixin


def test_all_that_a_configured_host_holds_carries_a_prefix():
    host = PairHost()
    model = Mixed(relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics(), relevance_queue_size=8)
    model.training_step(next(iter(pairs())), 0)
    held = set(vars(model)) | set(model._modules) | set(model._buffers)
    own = held - set(vars(host)) - set(host._modules)
    assert all(name.lstrip("_").startswith(("relevance_", "retrieval_")) for name in own)
    arguments = set(inspect.signature(RelevanceLossMixin).parameters) - {"args", "kwargs"}
    assert all(name.startswith("relevance_") for name in arguments)


@pytest.mark.parametrize("name", ["relevance_weight", "retrieval_metrics", "relevance_loss", "relevance_loss_of"])
def test_a_host_with_one_of_our_names_keeps_it_unconfigured_and_is_told_when_configured(name):
    class Taken(PairHost):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            if name != "relevance_loss_of":
                setattr(self, name, torch.nn.Linear(1, 1) if name == "retrieval_metrics" else 7)

        if name == "relevance_loss_of":

            def relevance_loss_of(self, batch):
                return 7

    class MixedTaken(RelevanceLossMixin, RetrievalMetricsMixin, Taken):
        pass

    alone = MixedTaken()
    value = getattr(alone, name)
    assert isinstance(value, torch.nn.Linear) or value == 7 or value(None) == 7
    with pytest.raises(TypeError, match=f"Taken has {name} of its own, which Re.*Mixin needs for itself: rename it"):
        MixedTaken(relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics())


def test_an_unconfigured_mixin_hands_on_arguments_that_the_host_takes():
    class Weighted(PairHost):
        def __init__(self, relevance_weight=0.25):
            super().__init__()
            self.own_weight = relevance_weight

    class MixedWeighted(RelevanceLossMixin, Weighted):
        pass

    assert MixedWeighted(relevance_weight=0.75).own_weight == 0.75
    assert MixedWeighted(relevance_weight=0.75).hparams["relevance_weight"] == 0.75


def test_tables_losses_and_metrics_never_become_hyperparameters(trainer, tmp_path):
    class WithTable(Mixed):
        def __init__(self, table, tables=None, share=0.5, **kwargs):
            super().__init__(**kwargs)
            self.table = table

        def retrieval_targets(self, batch):
            numbers = torch.arange(len(batch[0]))
            return RetrievalTargets(numbers, numbers, text_ids=numbers, relevance=self.table)

    arguments = {"table": table(20_000), "tables": {"a": table(10)}, "share": 0.75}
    model = WithTable(**arguments, relevance_loss=ContrastiveLoss(), retrieval_metrics=RetrievalMetrics())
    assert dict(model.hparams) == {"share": 0.75, "width": 4, "lr": 0.1} or dict(model.hparams) == {"share": 0.75}
    run = trainer()
    run.fit(model, pairs())
    run.save_checkpoint(tmp_path / "small.ckpt")
    assert (tmp_path / "small.ckpt").stat().st_size < 100_000
    again = WithTable.load_from_checkpoint(
        tmp_path / "small.ckpt", weights_only=True, **arguments, relevance_loss=ContrastiveLoss()
    )
    assert torch.equal(again.relevance_loss.log_scale, model.relevance_loss.log_scale)


def test_the_hosts_targets_and_batch_are_never_written_to():
    kept = RetrievalTargets([0, 1], [0, 1], text_ids=[5, 6], relevance=torch.eye(2))

    class Keeps(RelevanceLossMixin, PairHost):
        def retrieval_targets(self, batch):
            return kept

    before = copy.deepcopy(vars(kept))
    model = Keeps(relevance_loss=LadderLoss(thresholds=(0.5,)))
    model.training_step([torch.randn(2, 6), torch.randn(2, 5)], 0)
    for name, value in before.items():
        assert value is None or torch.equal(getattr(kept, name), value)
    with pytest.raises(AttributeError):
        kept.relevance = None


def test_no_gradient_reaches_labels():
    relevance, features = torch.rand(8, 8, requires_grad=True), torch.rand(8, 3, requires_grad=True)
    for labels in ({"relevance": relevance}, {"text_features": features}):

        class Labelled(RelevanceLossMixin, PairHost):
            def retrieval_targets(self, batch, labels=labels):
                return RetrievalTargets(range(8), range(8), **labels)

        Labelled(relevance_loss=LadderLoss(thresholds=(0.5,))).training_step(next(iter(pairs())), 0).backward()
    assert relevance.grad is None
    assert features.grad is None


def test_terms_outside_a_step_leave_nothing_behind():
    model = Mixed(relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics())
    batch = next(iter(pairs()))
    before = set(vars(model))
    terms = model.relevance_terms(batch)
    assert set(vars(model)) <= before | {"_retrieval_running", "_retrieval_tapes", "_relevance_checked"}
    assert model.__dict__.get("_retrieval_step") is None
    embeds = model.retrieval_embeds(batch)
    torch.testing.assert_close(model.relevance_terms(batch, embeds)["triplet"], terms["triplet"])


def test_a_callback_that_calls_the_step_itself_gets_the_hosts(trainer):
    from lightning import Callback

    class Shows(Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            pl_module.validation_step(batch, batch_idx)

    class Validates(PairHost):
        def validation_step(self, batch, batch_idx):
            self.calls = getattr(self, "calls", 0) + 1

    class MixedValidates(RetrievalMetricsMixin, Validates):
        pass

    model = MixedValidates(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    trainer(callbacks=[Shows()]).validate(model, pairs(), verbose=False)
    assert model.calls == 4
    assert sum(len(rows) for rows in model.retrieval_metrics["rsum"].image_embeds) == 16


def test_a_step_that_is_overridden_and_calls_super_is_supplied_once(trainer):
    class Overrides(RelevanceLossMixin, RetrievalMetricsMixin, BareHost):
        def training_step(self, batch, batch_idx):
            return 2 * super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.log("val/seen", 1.0)
            return super().validation_step(batch, batch_idx)

    model = Overrides(relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics((1,), (), ()))
    batch = next(iter(pairs()))
    torch.testing.assert_close(model.training_step(batch, 0), 2 * model.relevance_terms(batch)["triplet"])
    run = trainer()
    run.fit(model, pairs(), pairs())
    assert sum(len(rows) for rows in model.retrieval_metrics["rsum"].image_embeds) == 16
    assert "val/rsum" in run.callback_metrics


def test_ids_that_restart_in_every_batch_are_an_error(trainer):
    class Restarts(RetrievalMetricsMixin, BareHost):
        def retrieval_targets(self, batch):
            return RetrievalTargets(range(len(batch[0])), range(len(batch[0])))

    with pytest.raises(ValueError, match="two different"):
        trainer().validate(Restarts(retrieval_metrics=RetrievalMetrics((1,), (), ())), pairs(), verbose=False)


def test_folds_are_measured_as_one_where_the_gallery_is_not_complete(trainer):
    class Folded(RelevanceLossMixin, RetrievalMetricsMixin, BareHost):
        pass

    def model():
        return Folded(relevance_loss=TripletLoss(), retrieval_metrics=RetrievalMetrics((1,), (), (), folds=3))

    loader = pairs(24, batch_size=5)
    for arguments in ({"num_sanity_val_steps": 2}, {"limit_val_batches": 2}, {"fast_dev_run": True}):
        run = trainer(**arguments)
        with pytest.warns(UserWarning, match="folds"):
            run.fit(model(), loader, loader)
        assert "val/rsum" in run.callback_metrics
    complete = trainer(limit_val_batches=1.0, num_sanity_val_steps=0)
    with pytest.raises(ValueError, match="folds must divide the number of images"):
        complete.validate(Folded(retrieval_metrics=RetrievalMetrics((1,), (), (), folds=5)), loader, verbose=False)


def test_any_collection_of_our_metrics_is_measured_under_its_own_names(trainer):
    class Measured(RetrievalMetricsMixin, BareHost):
        pass

    own = MetricCollection({"top1": RecallAtK(1), "top3_back": RecallAtK(3, "t2i")})
    (values,) = trainer().validate(Measured(retrieval_metrics=own), pairs(), verbose=False)
    assert values.keys() == {"val/top1", "val/top3_back"}


def test_detached_embeddings_are_noticed():
    class Detached(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            images, texts = self.image(batch[0]), self.text(batch[1])
            return {"loss": images.sum(), "image_embeds": images.detach(), "text_embeds": texts.detach()}

    with pytest.raises(RuntimeError, match=r"training_step carry no gradient.*return them undetached"):
        Detached(relevance_loss=TripletLoss()).training_step(next(iter(pairs())), 0)


def test_what_is_captured_must_run_once():
    class Twice(RelevanceLossMixin, PairHost):
        retrieval_embeds_from = ("image", "text")

        def training_step(self, batch, batch_idx):
            return (self.image(batch[0]) - self.image(batch[0].flip(1))).square().mean() + self.text(batch[1]).sum()

    with pytest.raises(RuntimeError, match="'image' must run exactly once in training_step, but ran 2 times"):
        Twice(relevance_loss=TripletLoss()).training_step(next(iter(pairs())), 0)

    class Nowhere(RelevanceLossMixin, PairHost):
        retrieval_embeds_from = ("image", "model.text")

    with pytest.raises(AttributeError, match=r"names 'model.text', but Nowhere has no 'model' among its submodules"):
        Nowhere(relevance_loss=TripletLoss()).training_step(next(iter(pairs())), 0)


def test_a_host_that_logs_under_the_name_of_a_term_keeps_it(trainer):
    class Logs(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            self.log("train/triplet", 5.0)
            return super().training_step(batch, batch_idx)

    run = trainer()
    with pytest.warns(UserWarning, match="train/triplet is what the host logs"):
        run.fit(Logs(relevance_loss=TripletLoss()), pairs())
    assert run.callback_metrics["train/triplet"] == 5.0
    assert run.callback_metrics["train/relevance_triplet"] != 5.0


def test_pairs_without_ids_are_told_apart_in_the_queue():
    model = Mixed(relevance_loss=ContrastiveLoss(learnable=False), relevance_queue_size=8)
    first, second = list(pairs(16, batch_size=8))
    model.training_step(first, 0)
    terms = model.relevance_terms(second)
    images, texts = model.retrieval_embeds(second)
    past_images, past_texts = model.retrieval_embeds(first)
    scores = model.retrieval_similarity(images, torch.cat([texts, past_texts]))
    back = model.retrieval_similarity(torch.cat([images, past_images]), texts).T
    nothing = torch.zeros(8, 8, dtype=torch.bool)
    positives = torch.cat([torch.eye(8, dtype=torch.bool), nothing], dim=1)
    loss = ContrastiveLoss(learnable=False, reduction="sum")
    of_images = loss.query_terms(scores, positives=positives)["contrastive"][0].mean()
    of_texts = loss.query_terms(back, positives=positives)["contrastive"][0].mean()
    torch.testing.assert_close(terms["contrastive"], (of_images + of_texts) / 2)


def test_ids_as_file_names_and_columns(trainer):
    images, texts = pairs().dataset.tensors
    rows = [
        {"image": image, "text": text, "image_ids": f"{row // 2}.jpg", "text_image_ids": f"{row // 2}.jpg"}
        for row, (image, text) in enumerate(zip(images, texts, strict=True))
    ]

    class Dicts(RelevanceLossMixin, BareHost):
        def retrieval_embeds(self, batch):
            return self.image(batch["image"]), self.text(batch["text"])

    model = Dicts(relevance_loss=TripletLoss())
    batch = next(iter(DataLoader(rows, batch_size=8)))
    value = model.training_step(batch, 0)
    numbers = torch.arange(8)[:, None] // 2  # (N, 1), as default_collate makes of one-element tensors
    torch.testing.assert_close(value, model.training_step(batch | {"image_ids": numbers, "text_image_ids": numbers}, 0))


def test_a_mixed_host_validates_with_its_own_trainer_class_only_once(tmp_path):
    class Measured(RetrievalMetricsMixin, BareHost):
        pass

    model = Measured(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    data = DataLoader(TensorDataset(*pairs().dataset.tensors), batch_size=16)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    run = Trainer(**quiet, enable_model_summary=False, default_root_dir=tmp_path)
    first, second = (run.validate(model, data, verbose=False)[0] for _ in range(2))
    assert first == second


def test_a_tuner_that_restores_in_the_middle_of_a_fit(trainer):
    from lightning.pytorch.tuner import Tuner

    model = Mixed(relevance_loss=ContrastiveLoss())
    model.configure_optimizers = lambda: torch.optim.Adam(model.parameters(), lr=model.lr)
    model.lr = 0.01
    run = trainer(max_epochs=1)
    before = model.relevance_loss.log_scale.item()
    Tuner(run).lr_find(model, pairs(), num_training=2)
    assert model.relevance_loss.log_scale.item() == before
    run.fit(model, pairs())
    assert model.relevance_loss.log_scale.item() != before
