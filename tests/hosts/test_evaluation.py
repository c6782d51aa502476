"""Hosts that look like other people's: their retrieval metrics against a loop over all embeddings."""

import numpy as np
import pytest
import torch

from vse_lightning import ContrastiveLoss, RetrievalMetrics, TripletLoss

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*val_dataloader", "ignore:Trying to infer the `batch_size`", "ignore:.*no training step"
)


def metrics():
    return RetrievalMetrics((1, 5), (), ())


def recalls(images, texts, image_of_text):
    """R@1 and R@5 in both directions by sorting, and their sum in percent."""
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images.numpy(), texts.numpy()))
    scores, image_of_text = images @ texts.T, image_of_text.numpy()
    values = {}
    for k in (1, 5):
        best_texts = np.argsort(-scores, axis=1)[:, :k]
        values[f"i2t_recall_at_{k}"] = np.mean([row in image_of_text[best_texts[row]] for row in range(len(images))])
        best_images = np.argsort(-scores.T, axis=1)[:, :k]
        values[f"t2i_recall_at_{k}"] = np.mean([image_of_text[text] in best_images[text] for text in range(len(texts))])
    return values | {"rsum": 100 * sum(values.values())}


def of_stage(values, stage):
    known = metrics().keys()
    return {name: value for name, value in values.items() if name.split("/")[-1] in known and name.startswith(stage)}


@pytest.mark.parametrize("stage", ["val", "test"])
@pytest.mark.parametrize("batch_size", [24, 7])
def test_values_are_those_of_the_whole_data_for_any_batch_size(integration, trainer, make, batch_size, stage):
    model = make(retrieval_metrics=metrics())
    if stage == "test" and "test_step" not in vars(integration.host) and integration.host.__name__ != "NamedBatch":

        class Tests(integration.mixed):
            def test_step(self, batch, batch_idx):
                return self.validation_step(batch, batch_idx)

        model = Tests(retrieval_metrics=metrics())
    run = trainer()
    loader = integration.loader(batch_size)
    (values,) = (run.validate if stage == "val" else run.test)(model, loader, verbose=False)
    expected = recalls(*integration.all_embeds(model))
    assert 0 < expected["t2i_recall_at_5"] < 1
    logged = of_stage(values, stage)
    assert logged == {f"{stage}/{name}": pytest.approx(value, rel=1e-6) for name, value in expected.items()}
    assert not [name for name in values if "relevance_loss" in name]


def test_training_and_validating_together(integration, trainer, make):
    model = make(relevance_loss=TripletLoss(), retrieval_metrics=metrics())
    run = trainer(max_epochs=2)
    run.fit(model, integration.loader(), integration.loader(5))
    expected = recalls(*integration.all_embeds(model))
    logged = of_stage({name: value.item() for name, value in run.callback_metrics.items()}, "val")
    assert logged == {f"val/{name}": pytest.approx(value, rel=1e-6) for name, value in expected.items()}


def test_predicting(integration, trainer, make):
    model = make(retrieval_metrics=metrics())
    if integration.mixed.retrieval_embeds_from != "forward":

        class Embeds(integration.mixed):
            def retrieval_embeds(self, batch):
                return integration.embeds(self, batch)

        model = Embeds(retrieval_metrics=metrics())
    batches = trainer().predict(model, integration.loader(10))
    images = torch.cat([batch["image_embeds"] for batch in batches])
    expected, _, image_of_text = integration.all_embeds(model)
    torch.testing.assert_close(images, expected)
    image_ids = torch.cat([batch["image_ids"] for batch in batches])
    assert len(image_ids.unique()) == len(images)
    assert torch.equal(torch.cat([batch["text_image_ids"] for batch in batches]), image_ids[image_of_text])


def test_two_loaders_then_one(integration, trainer, make):
    model = make(retrieval_metrics=metrics())
    if integration.host.__name__ not in ("NestedSteps", "NamedBatch"):  # the others take no dataloader_idx, as most
        step = integration.mixed.validation_step

        class Takes(integration.mixed):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                return step(self, batch, batch_idx)

        torch.manual_seed(1)
        model = Takes(retrieval_metrics=metrics())
    run = trainer()
    both = run.validate(model, [integration.loader(5), integration.loader(8, pictures=16)], verbose=False)
    (one,) = run.validate(model, integration.loader(9), verbose=False)
    expected = recalls(*integration.all_embeds(model))
    assert one["val/rsum"] == pytest.approx(expected["rsum"], abs=1e-4)
    joined = {name: value for of_loader in both for name, value in of_loader.items()}
    assert joined["val/rsum/dataloader_idx_0"] == pytest.approx(expected["rsum"], abs=1e-4)
    assert "val/rsum/dataloader_idx_1" in joined


@pytest.mark.filterwarnings("ignore:The .grad attribute", "ignore:Dynamo does not know how to trace")
def test_compiled(integration, trainer, make):
    runs = []
    for compiled in (False, True):
        model = make(relevance_loss=ContrastiveLoss(learnable=False), retrieval_metrics=metrics())
        if hasattr(model, "setup"):
            model.setup("fit")
        run = trainer(max_epochs=1)
        torch.manual_seed(0)
        run.fit(
            torch.compile(model, backend="eager") if compiled else model, integration.loader(), integration.loader()
        )
        runs.append({name: value.item() for name, value in run.callback_metrics.items()})
    assert runs[1] == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in runs[0].items()}
