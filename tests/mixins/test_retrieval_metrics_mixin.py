import csv
import warnings

import pytest
import torch
from hosts import BareHost, PairHost, pairs
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from torchmetrics import MeanMetric

from vse_lightning.losses import TripletLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.mixins import RelevanceLossMixin, RetrievalMetricsMixin, RetrievalTargets

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered",
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "ignore:.*left out. they need graded relevance",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
    "ignore:Starting from v1.9.0",
)


class Numbered(BareHost):
    """Tuple batches (picture, words, id); relevance from a table of its own."""

    def retrieval_embeds(self, batch):
        self.embedded = getattr(self, "embedded", 0) + 1
        return super().retrieval_embeds(batch)

    def retrieval_targets(self, batch):
        ids = batch[2]
        return RetrievalTargets(ids, ids, text_ids=ids, relevance=Table() if self.labelled else None)

    labelled = True


class Table:
    label = "random labels"
    relevance = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))

    def block(self, image_ids, text_ids, captions_per_image=None):
        return self.relevance[image_ids.cpu()][:, text_ids.cpu()]


class Measured(RetrievalMetricsMixin, Numbered):
    pass


def numbered():
    images, texts = pairs().dataset.tensors
    data = torch.utils.data.TensorDataset(images, texts, torch.arange(16))
    return torch.utils.data.DataLoader(data, batch_size=6)


def small_metrics():
    return RetrievalMetrics(recall_ks=(1, 5), ndcg_ks=(5,), coherent_ks=(10,))


def expected_values(model):
    metrics = small_metrics()
    metrics.relevance = Table()
    images, texts = model.image(numbered().dataset.tensors[0]), model.text(numbered().dataset.tensors[1])
    ids = torch.arange(16)
    metrics.update(images, texts, ids, ids, text_ids=ids)
    return {name: value.item() for name, value in metrics.compute().items()}


def test_values_are_those_of_the_whole_gallery_under_the_tables_labels(trainer):
    model = Measured(retrieval_metrics=small_metrics())
    (found,) = trainer().validate(model, numbered(), verbose=False)
    expected = expected_values(model)
    assert found == {f"val/{name}": pytest.approx(value, abs=1e-6) for name, value in expected.items()}
    assert "val/t2i_coherent_score_at_10" in found
    assert model.retrieval_labels == {"": "random labels"}
    (tested,) = trainer().test(model, numbered(), verbose=False)
    assert tested == {f"test/{name}": pytest.approx(value, abs=1e-6) for name, value in expected.items()}


def test_embed_runs_once_per_evaluation_step(trainer):
    class Own(RetrievalMetricsMixin, Numbered):
        def validation_step(self, batch, batch_idx):
            self.retrieval_embeds(batch)
            self.log("val/mine", 1.0)

    model = Own(retrieval_metrics=small_metrics())
    (found,) = trainer().validate(model, numbered(), verbose=False)
    assert model.embedded == len(numbered())
    assert found["val/mine"] == 1.0
    assert "val/rsum" in found


def test_without_labels_the_graded_metrics_are_left_out(trainer):
    model = Measured(retrieval_metrics=small_metrics())
    model.labelled = False
    (found,) = trainer().validate(model, numbered(), verbose=False)
    assert sorted(found) == sorted(
        ["val/i2t_recall_at_1", "val/i2t_recall_at_5", "val/t2i_recall_at_1", "val/t2i_recall_at_5", "val/rsum"]
    )


def test_state_is_fresh_in_every_epoch(trainer):
    class Learns(RelevanceLossMixin, RetrievalMetricsMixin, Numbered):
        pass

    model = Learns(relevance_loss=TripletLoss(mining="all"), retrieval_metrics=small_metrics())
    fitted = trainer(max_epochs=5)
    fitted.fit(model, numbered(), numbered())
    expected = expected_values(model)
    for name, value in expected.items():
        assert fitted.callback_metrics[f"val/{name}"].item() == pytest.approx(value, abs=1e-6)


def test_an_overridden_similarity_is_used(trainer):
    class Reversed(RetrievalMetricsMixin, Numbered):
        def retrieval_similarity(self, image_embeds, text_embeds):
            return -super().retrieval_similarity(image_embeds, text_embeds)

    class HostReversed(Numbered):
        def retrieval_similarity(self, image_embeds, text_embeds):
            return -(image_embeds @ text_embeds.T)

    class Mixed(RetrievalMetricsMixin, HostReversed):
        pass

    torch.manual_seed(0)
    plain = Measured(retrieval_metrics=small_metrics())
    for cls in (Reversed, Mixed):
        model = cls(retrieval_metrics=small_metrics())
        model.load_state_dict(plain.state_dict())
        (found,) = trainer().validate(model, numbered(), verbose=False)
        (normal,) = trainer().validate(plain, numbered(), verbose=False)
        assert found["val/i2t_coherent_score_at_10"] != pytest.approx(normal["val/i2t_coherent_score_at_10"])
    assert (
        Mixed(retrieval_metrics=small_metrics()).retrieval_similarity(torch.ones(1, 2), torch.ones(1, 2)).item() == -2
    )


def test_several_dataloaders_are_measured_apart(trainer):
    class Two(RetrievalMetricsMixin, PairHost):
        pass

    model = Two(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    results = trainer().validate(model, [pairs(16, batch_size=16), pairs(8, batch_size=8)], verbose=False)
    found = {name: value for result in results for name, value in result.items()}
    for loader, count in enumerate((16, 8)):
        images, texts = next(iter(pairs(count, batch_size=count)))
        metrics, ids = RetrievalMetrics((1,), (), ()), torch.arange(count)
        metrics.update(model.image(images), model.text(texts), ids, ids)
        assert found[f"val/rsum/dataloader_idx_{loader}"] == pytest.approx(metrics.compute()["rsum"].item())


def test_several_label_sources_of_the_data_module(trainer):
    from lightning import LightningDataModule

    class Other(Table):
        label = "other labels"
        relevance = 1 - Table.relevance

    class Data(LightningDataModule):
        eval_relevance_tables = {"sbert": Table(), "cider": Other()}  # noqa: RUF012

        def val_dataloader(self):
            return numbered()

    model = Measured(retrieval_metrics=small_metrics())
    model.labelled = False
    (found,) = trainer().validate(model, datamodule=Data(), verbose=False)
    plain = expected_values(model)
    assert found["val/i2t_ndcg_at_5"] == pytest.approx(plain["i2t_ndcg_at_5"], abs=1e-6)
    assert found["val/i2t_ndcg_at_5_cider"] != pytest.approx(plain["i2t_ndcg_at_5"], abs=1e-6)
    assert "val/rsum_cider" not in found
    assert model.retrieval_labels == {"": "random labels", "_cider": "other labels"}
    by_suffix = dict(zip(("", "_cider"), Data.eval_relevance_tables.values(), strict=True))
    assert model.retrieval_tables(model.retrieval_metrics) == by_suffix
    model.retrieval_metrics.relevance = Other()
    assert model.retrieval_tables(model.retrieval_metrics) == {"": model.retrieval_metrics.relevance}


def test_values_reach_csv_and_tensorboard(trainer, tmp_path):
    pytest.importorskip("tensorboard")
    model = Measured(retrieval_metrics=small_metrics())
    loggers = [CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tensorboard")]
    trainer(logger=loggers).validate(model, numbered(), verbose=False)
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    expected = expected_values(model)
    assert float(row["val/rsum"]) == pytest.approx(expected["rsum"], abs=1e-4)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / "version_0"))
    events.Reload()
    assert events.Scalars("val/t2i_recall_at_5")[0].value == pytest.approx(expected["t2i_recall_at_5"], abs=1e-6)


def test_predicting_returns_embeddings_and_ids(trainer):
    model = Measured(retrieval_metrics=small_metrics())
    first = trainer().predict(model, numbered())[0]
    assert sorted(first) == ["image_embeds", "image_ids", "text_embeds", "text_ids", "text_image_ids"]
    torch.testing.assert_close(first["image_embeds"], model.image(numbered().dataset.tensors[0][:6]))


def test_not_configured_it_is_invisible():
    class Mixed(RelevanceLossMixin, RetrievalMetricsMixin, PairHost):
        pass

    for name in ("validation_step", "test_step", "predict_step", "on_validation_epoch_end", "on_test_epoch_start"):
        assert is_overridden(name, Mixed()) == is_overridden(name, PairHost()), name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dict(Mixed().hparams) == {"width": 4, "lr": 0.1}
    assert dict(Mixed(retrieval_metrics=small_metrics()).hparams) == {"width": 4, "lr": 0.1}
    assert list(Mixed(retrieval_metrics=small_metrics()).state_dict()) == list(PairHost().state_dict())


def test_other_metrics_are_refused_with_a_remedy():
    with pytest.raises(TypeError, match=r"metrics must be of vse_lightning\.metrics .* got torch.*MeanMetric"):
        Measured(retrieval_metrics=MeanMetric())


class Pairs(RetrievalMetricsMixin, BareHost):
    pass


@pytest.mark.parametrize("captions", [1, 2])
@pytest.mark.parametrize("named", [False, True])
def test_pairs_that_share_a_picture_are_told_to_have_ids(trainer, captions, named):
    class Named(Pairs):
        def retrieval_targets(self, batch):
            return RetrievalTargets(batch[2], batch[2])

    images, texts = pairs(16 // captions).dataset.tensors[0].repeat_interleave(captions, 0), pairs().dataset.tensors[1]
    numbers = torch.arange(16) // captions
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, texts, numbers), batch_size=5)
    model = (Named if named else Pairs)(retrieval_metrics=RetrievalMetrics((1,), (), ()))
    run = trainer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.validate(model, loader, verbose=False)
        run.test(model, loader, verbose=False)
    told = [str(warning.message) for warning in caught if "distinct pictures" in str(warning.message)]
    if captions == 2 and not named:
        (message,) = told
        assert message.startswith("16 pairs without ids show 8 distinct pictures")
    else:
        assert told == []
