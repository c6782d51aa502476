"""Hosts that look like other people's: what they train on with the loss, and that they train as before without."""

import copy

import lightning
import pytest
import pytorch_lightning
import torch

from vse_lightning import ContrastiveLoss, LadderLoss, RetrievalMetrics, RetrievalTargets, TripletLoss
from vse_lightning.functional import cosine_similarity

pytestmark = pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Trying to infer the `batch_size`")


class Watch:
    """Notes what every step returned and how often the encoders ran in it; works with either Lightning."""

    def __init__(self, integration):
        self.integration, self.runs, self.losses, self.counts = integration, [], [], []
        old = issubclass(integration.host, pytorch_lightning.LightningModule)
        callback = (pytorch_lightning if old else lightning).Callback()
        callback.on_train_start, callback.on_train_batch_start = self.count_runs, self.start_step
        callback.on_train_batch_end = self.end_step
        self.callback = callback

    def count_runs(self, trainer, module):
        for encoder in self.integration.encoders(module):
            encoder.register_forward_hook(lambda *unused: self.runs.append(1))

    def start_step(self, trainer, module, batch, batch_idx):
        torch.manual_seed(batch_idx)
        self.before = copy.deepcopy(module.state_dict())
        self.runs.clear()

    def end_step(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item() if outputs.get("loss") is not None else None)
        self.counts.append(len(self.runs))


def fitted(integration, trainer, model, **arguments):
    watch = Watch(integration)
    run = trainer(callbacks=[watch.callback], **arguments)
    run.fit(model, integration.loader())
    return run, watch


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_the_loss_is_added_to_the_hosts_and_the_encoders_run_once(integration, trainer, make):
    alone, mixed = make(), make(relevance_loss=TripletLoss(), relevance_weight=0.5)
    mixed.load_state_dict(alone.state_dict())
    run, watch = fitted(integration, trainer, mixed, max_steps=1)
    host_run, host_watch = fitted(integration, trainer, alone, max_steps=1)
    assert watch.counts == host_watch.counts == [2]

    again, batch = make(), next(iter(integration.loader()))
    if hasattr(again, "setup"):
        again.setup("fit")
    again.load_state_dict(host_watch.before)
    torch.manual_seed(0)
    images, texts = integration.embeds(again.train(), batch)
    positives = torch.eye(len(images), dtype=torch.bool).repeat_interleave(integration.captions, dim=1)
    expected = 0.5 * TripletLoss()(cosine_similarity(images, texts), positives=positives).item()
    assert expected > 0.01
    assert run.callback_metrics["train/relevance_loss"].item() == pytest.approx(expected, rel=1e-4)
    assert run.callback_metrics["train/triplet"].item() == pytest.approx(2 * expected, rel=1e-4)
    if watch.losses[0] is not None:
        assert watch.losses[0] == pytest.approx(host_watch.losses[0] + expected, rel=1e-4)
    assert set(host_run.callback_metrics) == {
        n for n in run.callback_metrics if n.split("/")[-1] not in ("relevance_loss", "triplet")
    }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_with_weight_zero_and_unconfigured_it_trains_bit_identically(integration, trainer, make, accumulate):
    arguments = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    if integration.host.__name__ == "Manual":
        arguments.pop("accumulate_grad_batches")
    models = [make()]
    if integration.host.__name__ != "SeveralCaptions":  # its loss is of pairs
        models.append(make(relevance_loss=ContrastiveLoss(learnable=False), relevance_weight=0.0))
    models.append(
        make(relevance_loss=TripletLoss(), relevance_weight=0.0, retrieval_metrics=RetrievalMetrics((1,), (), ()))
    )
    torch.manual_seed(1)
    models.append(integration.mixed())
    logs = []
    for model in models:
        run, _ = fitted(integration, trainer, model, **arguments)
        logs.append({name: value for name, value in run.callback_metrics.items() if name.startswith("train_")})
    for model, log in zip(models[1:], logs[1:], strict=True):
        same_weights(models[0], model)
        assert log == logs[0]


def test_mixed_precision_and_clipping(integration, trainer, make):
    model = make(relevance_loss=ContrastiveLoss(learnable=False), retrieval_metrics=RetrievalMetrics((1,), (), ()))
    clipping = {} if integration.host.__name__ == "Manual" else {"gradient_clip_val": 1.0}
    run = trainer(precision="bf16-mixed", **clipping)
    run.fit(model, integration.loader(), integration.loader())
    assert torch.isfinite(run.callback_metrics["train/relevance_loss"])
    assert 0 <= run.callback_metrics["val/rsum"] <= 200


def test_a_graded_loss_with_the_hosts_own_table(integration, trainer, make):
    class Table:
        asked = 0

        def block(self, image_ids, text_ids):
            Table.asked += 1
            return torch.rand(len(image_ids), len(text_ids), generator=torch.Generator().manual_seed(0))

    class Labelled(integration.mixed):
        def retrieval_targets(self, batch):
            targets = super().retrieval_targets(batch)
            if targets.image_ids is None:
                numbers = torch.arange(8)
                return RetrievalTargets(numbers, numbers, text_ids=numbers, relevance=Table())
            text_ids = targets.text_ids if targets.text_ids is not None else targets.text_image_ids
            return RetrievalTargets(targets.image_ids, targets.text_image_ids, text_ids=text_ids, relevance=Table())

    torch.manual_seed(1)
    model = Labelled(relevance_loss=LadderLoss(thresholds=(0.5,)))
    run = trainer()
    run.fit(model, integration.loader())
    assert Table.asked == len(integration.loader())
    assert run.callback_metrics["train/ladder"] > 0
