import copy
import pickle
import warnings

import pytest
import torch
from hosts import BareHost, PairHost, pairs
from lightning import LightningModule
from lightning.pytorch.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from lightning.pytorch.utilities.model_helpers import is_overridden

from vse_lightning.losses import ContrastiveLoss, LadderLoss, TripletLoss
from vse_lightning.mixins import RelevanceLossMixin, RetrievalTargets
from vse_lightning.mixins.batch.loss import FiniteLosses

pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered",
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)


class Pair(RelevanceLossMixin, PairHost):
    pass


class Bare(RelevanceLossMixin, BareHost):
    pass


def test_loss_is_added_to_what_the_hosts_step_returns():
    batch = next(iter(pairs()))
    model = Pair(relevance_loss=TripletLoss(), relevance_weight=0.5)
    images, texts = model.retrieval_embeds(batch)
    host = (images - texts).square().mean()
    expected = host + 0.5 * TripletLoss()(model.retrieval_similarity(images, texts))
    torch.testing.assert_close(model.training_step(batch, 0), expected)


def test_embed_runs_once_per_step():
    model = Pair(relevance_loss=TripletLoss())
    model.training_step(next(iter(pairs())), 0)
    assert model.embed_calls == 1
    model.retrieval_embeds(next(iter(pairs())))
    assert model.embed_calls == 2  # outside a step nothing is remembered


def test_host_that_returns_its_embeddings_is_not_asked_again():
    class Returns(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            images, texts = self.image(batch[0]), self.text(batch[1])
            return {"loss": images.sum(), "image_embeds": images, "text_embeds": texts, "more": 1}

    model = Returns(relevance_loss=TripletLoss())
    batch = next(iter(pairs()))
    output = model.training_step(batch, 0)
    assert model.embed_calls == 0
    assert output["more"] == 1
    images, texts = model.retrieval_embeds(batch)
    torch.testing.assert_close(output["loss"], images.sum() + TripletLoss()(model.retrieval_similarity(images, texts)))


def test_step_defined_in_the_class_itself_is_extended_once():
    class Own(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            return 2 * super().training_step(batch, batch_idx)

    class Further(Own):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + 1

    batch = next(iter(pairs()))
    model = Further(relevance_loss=TripletLoss())
    images, texts = model.retrieval_embeds(batch)
    host = (images - texts).square().mean()
    torch.testing.assert_close(
        model.training_step(batch, 0), 2 * host + 1 + TripletLoss()(model.retrieval_similarity(images, texts))
    )


def test_host_without_a_step_gets_one_and_learns(trainer):
    torch.manual_seed(0)
    model = Bare(relevance_loss=TripletLoss(mining="all"))
    before = model.training_step(next(iter(pairs())), 0).item()
    fitted = trainer(max_epochs=20)
    fitted.fit(model, pairs())
    assert fitted.callback_metrics["train/loss"] < before
    torch.testing.assert_close(fitted.callback_metrics["train/loss"], fitted.callback_metrics["train/triplet"])


def test_logged_values_are_those_of_the_step(trainer):
    model = Pair(relevance_loss=ContrastiveLoss(), relevance_weight=2.0)
    fitted = trainer(max_epochs=2)
    fitted.fit(model, pairs())
    logged = {name: value.item() for name, value in fitted.callback_metrics.items()}
    assert logged["train/relevance_loss"] == pytest.approx(2 * logged["train/contrastive"], rel=1e-5)
    assert "train/loss" not in logged


def test_host_that_logs_train_loss_keeps_its_own_value(trainer):
    class Logs(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("train/loss", loss)
            return loss

    fitted = trainer(max_epochs=2)
    fitted.fit(Logs(relevance_loss=TripletLoss()), pairs())
    torch.testing.assert_close(fitted.callback_metrics["train/loss"], fitted.callback_metrics["train/host"])


def test_super_is_called_as_often_as_a_step_asks():
    class Doubles(RelevanceLossMixin, BareHost):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + super().training_step(batch, batch_idx)

    batch = next(iter(pairs()))
    model = Doubles(relevance_loss=TripletLoss())
    torch.testing.assert_close(model.training_step(batch, 0), 2 * model.relevance_terms(batch)["triplet"])


@pytest.mark.filterwarnings("ignore:.training_step. returned .None.")  # which Lightning says once in a process
@pytest.mark.parametrize("host", [PairHost, BareHost])
def test_a_step_that_never_returns_its_loss_is_an_error_after_one_epoch(trainer, host):
    class Forgets(RelevanceLossMixin, host):
        steps = 0

        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            self.steps += 1

    model = Forgets(relevance_loss=TripletLoss())
    message = r"training_step of Forgets returned None for every batch.*return super\(\)"
    with pytest.raises(RuntimeError, match=message):
        trainer(max_epochs=3).fit(model, pairs())
    assert model.steps == 2


@pytest.mark.filterwarnings("ignore:.training_step. returned .None.")
def test_a_step_that_skips_some_batches_trains_on_the_others(trainer):
    class Skips(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) if batch_idx % 2 else None

    model = Skips(relevance_loss=TripletLoss())
    before = model.image.weight.clone()
    trainer().fit(model, pairs())
    assert not torch.equal(before, model.image.weight)


def test_nan_in_training_is_noticed_with_the_ids_of_the_batch(trainer):
    class Named(RelevanceLossMixin, PairHost):
        def retrieval_targets(self, batch):
            ids = (batch[0][:, 0] * 1e6).nan_to_num(0).long()
            return RetrievalTargets(ids, ids)

    loader = pairs()
    images = loader.dataset.tensors[0]
    images[13, 1] = float("nan")
    (expected, *_) = (images[8:, 0] * 1e6).long().tolist()
    model = Named(relevance_loss=TripletLoss())
    with pytest.raises(RuntimeError, match=rf"the relevance loss is nan for the batch of image_ids {expected}, "):
        trainer().fit(model, loader)
    Named(relevance_loss=TripletLoss(), relevance_weight=0).training_step([images[8:], images[8:, :5]], 0)


def test_on_a_gpu_many_losses_are_looked_at_together():
    losses = FiniteLosses()
    for _ in range(49):
        losses.add(torch.empty((), device="meta"), None)  # which cannot be looked at
    losses = FiniteLosses()
    values = torch.tensor([1.0, torch.inf, 2.0])
    losses._waiting = [(value, torch.tensor([step])) for step, value in enumerate(values)]
    with pytest.raises(RuntimeError, match="the relevance loss is inf for the batch of image_ids 1, 1 steps ago"):
        losses.check()
    losses.check()


def test_skipped_batch_stays_skipped():
    class Skips(RelevanceLossMixin, PairHost):
        def training_step(self, batch, batch_idx):
            return None

    assert Skips(relevance_loss=TripletLoss()).training_step(next(iter(pairs())), 0) is None


@pytest.mark.parametrize("host", [PairHost, BareHost])
def test_not_configured_the_same_hooks_are_overridden(host):
    class Mixed(RelevanceLossMixin, host):
        pass

    hooks = {name for base in (ModelHooks, DataHooks, CheckpointHooks) for name in vars(base) if name[0] != "_"}
    for name in hooks | {"training_step", "validation_step", "test_step", "predict_step", "configure_optimizers"}:
        assert is_overridden(name, Mixed()) == is_overridden(name, host()), name


def test_not_configured_a_run_is_that_of_the_host_alone(trainer):
    results = []
    for make in (PairHost, Pair):
        torch.manual_seed(0)
        model = make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer().fit(model, pairs())
        results.append((model.image.weight, sorted(str(w.message) for w in caught if "LeafSpec" not in str(w.message))))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not hasattr(Pair(), "embedding")


def test_not_configured_bare_host_fails_like_the_host_alone(trainer):
    messages = []
    for model in (BareHost(), Bare()):
        with pytest.raises(Exception, match="training_step") as caught:
            trainer().fit(model, pairs())
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_hyperparameters_are_the_hosts():
    loss = ContrastiveLoss()
    assert dict(Pair(width=3, relevance_loss=loss).hparams) == {"width": 3, "lr": 0.1}


def test_checkpoints_load_both_ways(trainer, tmp_path):
    model = Pair(relevance_loss=ContrastiveLoss())
    fitted = trainer()
    fitted.fit(model, pairs())
    path = tmp_path / "mixed.ckpt"
    fitted.save_checkpoint(path)
    assert model.relevance_loss.log_scale.item() != ContrastiveLoss().log_scale.item()
    alone = PairHost.load_from_checkpoint(path, weights_only=True)
    torch.testing.assert_close(alone.image.weight, model.image.weight)
    again = Pair.load_from_checkpoint(path, relevance_loss=ContrastiveLoss(), weights_only=True)
    torch.testing.assert_close(again.relevance_loss.log_scale, model.relevance_loss.log_scale)
    host_trainer = trainer()
    host_trainer.fit(PairHost(), pairs())
    host_trainer.save_checkpoint(tmp_path / "host.ckpt")
    Pair.load_from_checkpoint(tmp_path / "host.ckpt", relevance_loss=ContrastiveLoss(), weights_only=True)


def test_copies_and_pickles_work_on_their_own():
    model = Pair(relevance_loss=TripletLoss())
    batch = next(iter(pairs()))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other.training_step(batch, 0), model.training_step(batch, 0))
        assert other.embed_calls != 0


def test_temperature_stays_below_its_bound(trainer):
    model = Bare(relevance_loss=ContrastiveLoss(temperature=0.0101, max_scale=100.0))
    model.configure_optimizers = lambda: torch.optim.SGD(model.relevance_loss.parameters(), lr=1e4)
    trainer(max_epochs=3).fit(model, pairs())
    assert model.relevance_loss.log_scale.exp() <= 100.0 * (1 + 1e-5)


def test_wrong_base_order_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"must stand before PairHost: class Wrong\(RelevanceLossMixin, PairHost\)"):

        class Wrong(PairHost, RelevanceLossMixin):
            pass


def test_learnable_parameter_without_an_optimizer_is_an_error(trainer):
    class Partial(RelevanceLossMixin, PairHost):
        def configure_optimizers(self):
            return torch.optim.SGD(self.image.parameters(), lr=0.1)

    with pytest.raises(RuntimeError, match=r"relevance_loss.log_scale is learnable but no optimizer holds it"):
        trainer().fit(Partial(relevance_loss=ContrastiveLoss()), pairs())
    trainer().fit(Partial(relevance_loss=ContrastiveLoss(learnable=False)), pairs())


def test_learnable_parameter_that_an_optimizer_holds_twice_is_an_error(trainer):
    class Twice(RelevanceLossMixin, PairHost):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            optimizer.param_groups[0]["params"].extend(self.relevance_loss.parameters())
            return optimizer

    with pytest.raises(RuntimeError, match=r"relevance_loss.log_scale is held 2 times .*self.parameters\(\) holds it"):
        trainer().fit(Twice(relevance_loss=ContrastiveLoss()), pairs())


def test_manual_optimisation_is_told_what_to_call(trainer):
    class Manual(RelevanceLossMixin, PairHost):
        asks = False

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            loss = self.relevance_loss_of(batch) if self.asks else super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            optimizer.step()

    with pytest.raises(RuntimeError, match=r"call self.relevance_loss_of\(batch\) in training_step"):
        trainer().fit(Manual(relevance_loss=TripletLoss()), pairs())
    model = Manual(relevance_loss=TripletLoss())
    model.asks, before = True, model.image.weight.clone()
    trainer().fit(model, pairs())
    assert not torch.equal(model.image.weight, before)


class GradCache(LightningModule):
    """Goes backward in pieces inside one long step, so that nothing can be added to its loss."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.image, self.text = torch.nn.Linear(6, 4), torch.nn.Linear(5, 4)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        for images, texts in zip(batch[0].chunk(2), batch[1].chunk(2), strict=True):
            self.manual_backward((self.image(images) - self.text(texts)).square().mean())
        optimizer.step()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class MixedGradCache(RelevanceLossMixin, GradCache):
    def training_step(self, batch, batch_idx):
        self.batch = batch
        super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer):
        self.manual_backward(self.relevance_loss_of(self.batch))

    def retrieval_embeds(self, batch):
        return self.image(batch[0]), self.text(batch[1])


def test_a_host_that_optimises_by_hand_may_ask_before_its_optimizer_steps(trainer):
    weights = {}
    for name, arguments in {
        "alone": None,
        "unconfigured": {},
        "weight 0": {"relevance_loss": ContrastiveLoss(learnable=False), "relevance_weight": 0.0},
        "weight 0, learnable": {"relevance_loss": ContrastiveLoss(), "relevance_weight": 0.0},
        "mixed": {"relevance_loss": ContrastiveLoss(learnable=False)},
    }.items():
        torch.manual_seed(0)
        model = GradCache() if arguments is None else MixedGradCache(**arguments)
        run = trainer()
        run.fit(model, pairs())
        weights[name] = model.image.weight.detach()
        assert ("train/relevance_loss" in run.callback_metrics) == bool(arguments)
    for name in ("unconfigured", "weight 0", "weight 0, learnable"):
        assert torch.equal(weights[name], weights["alone"])
    assert not torch.equal(weights["mixed"], weights["alone"])


def test_missing_embed_says_what_to_write():
    class Empty(RelevanceLossMixin, torch.nn.Module):
        automatic_optimization = True

    with pytest.raises(
        TypeError, match=r"Empty does not say where its embeddings come from: .* retrieval_embeds\(batch\) -> \(image"
    ):
        Empty(relevance_loss=TripletLoss()).training_step(next(iter(pairs())), 0)
    assert not hasattr(Empty(), "embed")


def test_loss_that_needs_relevance_says_so():
    with pytest.raises(ValueError, match="LadderLoss needs relevance"):
        Pair(relevance_loss=LadderLoss()).training_step(next(iter(pairs())), 0)


def test_targets_of_dict_batches_and_of_the_host():
    class Dicts(RelevanceLossMixin, BareHost):
        def retrieval_embeds(self, batch):
            return super().retrieval_embeds((batch["image"], batch["text"]))

    images, texts = next(iter(pairs()))
    ids, relevance = torch.arange(8), torch.rand(8, 8)
    batch = {"image": images, "text": texts, "image_ids": ids, "text_ids": ids, "text_image_ids": ids}
    model = Dicts(relevance_loss=LadderLoss(thresholds=(0.5,)))
    scores = model.retrieval_similarity(*model.retrieval_embeds(batch))
    expected = LadderLoss(thresholds=(0.5,))(scores, relevance)
    torch.testing.assert_close(model.training_step({**batch, "relevance": relevance}, 0), expected)

    class Knows(RelevanceLossMixin, PairHost):
        def retrieval_targets(self, batch):
            return RetrievalTargets(ids, ids, text_ids=ids, relevance=relevance)

    pair_model = Knows(relevance_loss=LadderLoss(thresholds=(0.5,)), relevance_weight=0.0)
    pair_model.training_step((images, texts), 0)
    with pytest.raises(ValueError, match="text_ids are needed to look relevance up in a table"):
        RetrievalTargets(ids, ids, relevance=model_table()).relevance_between(slice(None), slice(None))


def model_table():
    class Table:
        def block(self, image_ids, text_ids):
            return torch.zeros(len(image_ids), len(text_ids))

    return Table()


def test_relevance_from_text_features_is_the_best_over_the_images_captions():
    features = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    ids = torch.tensor([4, 4, 9])
    targets = RetrievalTargets(torch.tensor([4, 9]), ids, text_features=features)
    found = targets.relevance_between(slice(None), slice(None))
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, half], [half, half, 1.0]]))
    with pytest.raises(ValueError, match=r"image ids \[7\] have none"):
        RetrievalTargets(torch.tensor([7]), ids, text_features=features).relevance_between(slice(None), slice(None))


def test_wrong_numbers_of_ids_are_named():
    ids = torch.arange(3)
    with pytest.raises(ValueError, match="text_image_ids must have one entry for each of the 2 text embeddings, got 3"):
        RetrievalTargets(ids, ids).resolve(torch.zeros(3, 4), torch.zeros(2, 4))


def test_negative_weight_is_refused():
    with pytest.raises(ValueError, match="relevance_weight must be a finite number of at least 0, got -1"):
        Bare(relevance_loss=TripletLoss(), relevance_weight=-1)
