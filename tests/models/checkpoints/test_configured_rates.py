"""What trains after a checkpoint of another configuration: the rates of the user, the moments of the checkpoint."""

import warnings
from itertools import pairwise

import pytest
import torch
from lightning import Callback, Trainer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import ContrastiveLoss, LadderLoss, TripletLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder, TimmImageEncoder

pytest.importorskip("timm")

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
BATCHES = 3
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:The dirpath has changed",
    "ignore:The epoch parameter in",  # what SequentialLR of PyTorch 2.6 does itself
)


class Followed(Callback):
    """The rate of every step, and the optimizer's state before the first."""

    def __init__(self):
        self.rates, self.first_state = [], None

    def on_train_batch_start(self, trainer, *args):
        (optimizer,) = trainer.optimizers
        self.rates.append(optimizer.param_groups[0]["lr"])
        if self.first_state is None:
            names = {id(p): name for name, p in trainer.lightning_module.named_parameters()}
            self.first_state = {
                names[id(p)]: {k: torch.as_tensor(v).clone() for k, v in state.items() if v is not None}
                for p, state in optimizer.state.items()
            }
            self.first_group = dict(optimizer.param_groups[0])


def adam(lr=0.1, **options):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr, **options)


def sgd(lr=0.1, **options):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, **options)


def fit(epochs, ckpt_path=None, loss=None, seed=0, **arguments):
    """Train and give what was followed, and the trainer."""
    torch.manual_seed(seed)
    image_encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=4, image_size=32)
    text_encoder = GRUTextEncoder(word_dim=4, embed_dim=4, min_count=1)
    metrics = RetrievalMetrics(ndcg_ks=(), coherent_ks=())
    model = DualEncoder(image_encoder, text_encoder, loss or TripletLoss(), metrics, **arguments)
    data = ImageTextDataModule(ShapesSource(num_images=20, image_size=32), "source", batch_size=4, num_workers=0)
    followed = Followed()
    trainer = Trainer(
        max_epochs=epochs,
        limit_train_batches=BATCHES,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        callbacks=[followed],
        enable_checkpointing=False,
        **QUIET,
    )
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return followed, trainer


@pytest.fixture
def saved(tmp_path):
    """Path of a checkpoint after so many epochs, and what it holds."""

    def make(epochs=2, **arguments):
        _, trainer = fit(epochs, **arguments)
        trainer.save_checkpoint(tmp_path / "before.ckpt")
        return str(tmp_path / "before.ckpt"), torch.load(tmp_path / "before.ckpt", weights_only=True)

    return make


def by_epoch(make):
    return {"lr_scheduler": make, "lr_interval": "epoch"}


def by_step(make):
    return {"lr_scheduler": make, "lr_interval": "step"}


SETUPS = {
    "constant": {},
    "higher": {"optimizer": adam(0.3)},
    "warm-up": {"lr_warmup_steps": 8},
    "cosine": by_epoch(lambda o: CosineAnnealingLR(o, T_max=2)),
    "longer cosine": by_epoch(lambda o: CosineAnnealingLR(o, T_max=5)),
    "higher cosine": {"optimizer": adam(0.2), **by_epoch(lambda o: CosineAnnealingLR(o, T_max=4, eta_min=0.01))},
    "cosine by step": by_step(lambda o: CosineAnnealingLR(o, T_max=20)),
    "warm-up and steps": {"lr_warmup_steps": 4, **by_epoch(lambda o: StepLR(o, step_size=1, gamma=0.5))},
    "milestones": by_epoch(lambda o: MultiStepLR(o, [1, 3])),
    "one cycle": by_step(lambda o: OneCycleLR(o, max_lr=0.4, total_steps=20)),
    "one after the other": by_step(
        lambda o: SequentialLR(o, [StepLR(o, 2, 0.5), CosineAnnealingLR(o, T_max=8)], milestones=[4])
    ),
}


@pytest.mark.parametrize(("before", "now"), [*pairwise(SETUPS), ("cosine", "higher")])
def test_rates_are_those_of_a_training_that_had_them_from_the_start(saved, before, now):
    path, _ = saved(**{"optimizer": adam(), **SETUPS[before]})
    setup = {"optimizer": adam(), **SETUPS[now]}
    expected = fit(4, **setup)[0].rates
    assert fit(4, path, **setup)[0].rates == pytest.approx(expected[2 * BATCHES :])


@pytest.mark.parametrize("name", ["constant", "warm-up and steps", "one cycle", "one after the other"])
def test_the_same_setup_goes_on_as_if_nothing_had_happened(saved, name):
    setup = {"optimizer": adam(), **SETUPS[name]}
    path, checkpoint = saved(**setup)
    followed, _ = fit(4, path, **setup)
    assert followed.rates == fit(4, **setup)[0].rates[2 * BATCHES :]
    for state, kept in zip(
        checkpoint["optimizer_states"][0]["state"].values(), followed.first_state.values(), strict=True
    ):
        torch.testing.assert_close(kept["exp_avg"], state["exp_avg"], rtol=0, atol=0)


def halving(optimizer):
    return ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")


def test_a_rate_beside_a_plateau_changes_in_proportion(saved):
    plateau = {"lr_scheduler": halving, "lr_monitor": "val/rsum"}
    path, checkpoint = saved(3, optimizer=adam(), **plateau)
    reduced = checkpoint["optimizer_states"][0]["param_groups"][0]["lr"]
    assert reduced < 0.1
    rates = fit(4, path, optimizer=adam(0.2), **plateau)[0].rates
    assert rates == pytest.approx(BATCHES * [2 * reduced])
    assert fit(4, path, optimizer=adam(0.2))[0].rates == pytest.approx(BATCHES * [0.2])


def names_and_moments(checkpoint):
    setup = checkpoint["retriever_optimizer"][0]["parameters"][0]
    names = [name for name in setup if not name.startswith("relevance_loss")]
    return {names[number]: state["exp_avg"] for number, state in checkpoint["optimizer_states"][0]["state"].items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": adam(0.5, weight_decay=0.1, betas=(0.8, 0.9))},
        {"optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=0.1)},
        {"loss": LadderLoss()},
        {"loss": ContrastiveLoss(), "optimizer": adam(0.5)},
    ],
    ids=["options", "class of the same moments", "loss", "loss and rate"],
)
@pytest.mark.parametrize("loss", [TripletLoss, ContrastiveLoss])
@pytest.mark.filterwarnings("ignore:the checkpoint's ContrastiveLoss has learnt")
def test_moments_are_those_of_the_checkpoint(saved, loss, changes):
    path, checkpoint = saved(optimizer=adam(), loss=loss())
    followed, _ = fit(3, path, **{"optimizer": adam(), **changes})
    moments = names_and_moments(checkpoint)
    assert len(moments) > 10
    kept = {name: state["exp_avg"] for name, state in followed.first_state.items() if "relevance_loss" not in name}
    torch.testing.assert_close(kept, moments, rtol=0, atol=0)
    assert followed.first_group["lr"] == (0.5 if "weight_decay" in repr(changes) else followed.rates[0])


def test_options_of_the_user_count(saved):
    path, _ = saved(optimizer=adam(weight_decay=0.3))
    followed, _ = fit(3, path, optimizer=adam(betas=(0.5, 0.6)))
    assert followed.first_group["weight_decay"] == 0
    assert followed.first_group["betas"] == (0.5, 0.6)


def test_moments_go_by_name_where_other_parameters_learn(saved):
    class Frozen(DualEncoder):
        def make_optimizer(self):
            first, *others = [p for p in self.parameters() if p.requires_grad]
            return torch.optim.Adam([{"params": others, "lr": 0.2}, {"params": [first]}], lr=0.1)

    path, checkpoint = saved(optimizer=adam())
    moments = names_and_moments(checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DualEncoder, "make_optimizer", Frozen.make_optimizer)
        followed, _ = fit(3, path)
    kept = {name: state["exp_avg"] for name, state in followed.first_state.items()}
    torch.testing.assert_close(kept, moments, rtol=0, atol=0)
    assert followed.rates == BATCHES * [0.2]


@pytest.mark.parametrize("optimizer", [sgd(momentum=0.9), adam(amsgrad=True)], ids=["class", "further moments"])
def test_an_optimizer_that_needs_other_moments_starts_afresh_with_a_word(saved, optimizer):
    path, _ = saved(optimizer=adam())
    with pytest.warns(UserWarning, match="the optimizer starts without what the checkpoint knows of its moments"):
        followed, _ = fit(3, path, optimizer=optimizer)
    assert followed.first_state == {}
    assert followed.rates == BATCHES * [0.1]


def test_a_checkpoint_that_says_nothing_of_its_setup_keeps_its_rates_with_a_word(saved):
    path, checkpoint = saved(optimizer=adam())
    del checkpoint["retriever_optimizer"]
    torch.save(checkpoint, path)
    with pytest.warns(UserWarning, match=r"does not say how .* rates and options stay: lr is 0.1, .* says 0.7"):
        assert fit(3, path, optimizer=adam(0.7))[0].rates == BATCHES * [0.1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        assert fit(3, path, optimizer=adam())[0].rates == BATCHES * [0.1]
