"""Which dataloaders are measured, and whether what was seen is all there is."""

import pytest
from hosts import BareHost, pairs
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from vse_lightning import RelevanceLossMixin, RetrievalMetricsMixin, RSum, TripletLoss
from vse_lightning.metrics import RetrievalMetrics

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:Your `IterableDataset` has `__len__` defined",
)


class Measured(RelevanceLossMixin, RetrievalMetricsMixin, BareHost):
    def retrieval_embeds(self, batch):
        return super().retrieval_embeds(batch["a"] if isinstance(batch, dict) else batch)


def measured(folds=1):
    metrics = RetrievalMetrics.of([RSum((1,), folds=folds)])
    return Measured(relevance_loss=TripletLoss(), retrieval_metrics=metrics)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs().dataset)


def test_dataloaders_that_run_side_by_side_are_one(trainer):
    together = CombinedLoader({"a": pairs(), "b": pairs(8)}, "max_size_cycle")
    (values,) = trainer().validate(measured(), together, verbose=False)
    assert set(values) == {"val/rsum"}


def test_a_complete_validation_after_a_fit_on_other_data_is_no_partial_one(trainer):
    model, run = measured(folds=2), trainer(num_sanity_val_steps=0)
    run.fit(model, pairs(), pairs(64))
    (values,) = run.validate(model, pairs(12, batch_size=4), verbose=False)
    (alone,) = trainer().validate(model, pairs(12, batch_size=4), verbose=False)
    assert values == alone


@pytest.mark.parametrize("limit", [1.0, 1])
def test_a_stream_without_a_length_is_measured(trainer, limit):
    model = measured()
    (values,) = trainer(limit_val_batches=limit).validate(model, DataLoader(Stream(), batch_size=8), verbose=False)
    (expected,) = trainer(limit_val_batches=limit).validate(model, pairs(), verbose=False)
    assert values == expected


def test_side_by_side_the_shortest_ends_it(trainer):
    together = CombinedLoader({"a": pairs(16, 4), "b": pairs(8, 4)}, "min_size")
    with pytest.warns(UserWarning, match="measured as one instead of 3 folds"):
        trainer().validate(measured(folds=3), together, verbose=False)
