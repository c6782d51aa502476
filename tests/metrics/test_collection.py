"""What torchmetrics and Lightning do with metrics: collections, logging, copies, trackers."""

import copy
import pickle
import warnings

import lightning.pytorch as pl
import pytest
import torch
from torchmetrics import MetricCollection, MetricTracker

from vse_lightning.metrics import (
    CoherentScore,
    MissingRelevanceError,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RSum,
)
from vse_lightning.ranking import query_values

KEYS = [
    *(f"i2t_{name}" for name in ("recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10", "coherent_score_at_100")),
    *(f"t2i_{name}" for name in ("recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10", "coherent_score_at_100")),
    "rsum",
]


@pytest.fixture
def passes(monkeypatch):
    """Names of the metrics of every pass over the pairs."""
    seen = []
    values = query_values.Pass.values
    count = lambda part, *given: seen.append(list(part.metrics)) or values(part, *given)  # noqa: E731
    monkeypatch.setattr(query_values.Pass, "values", count)
    return seen


class Table:
    """Relevance that depends on the ids alone."""

    label = "toy labels"

    def __init__(self, power=1):
        self.power = power
        self.copies = 0

    def block(self, image_ids, text_ids, captions_per_image=None):
        relevance = (torch.sin(image_ids[:, None] + text_ids[None, :] * 0.7).abs()) ** self.power
        return relevance * (0.5 if captions_per_image else 1)

    def __deepcopy__(self, memo):
        raise AssertionError("a metric must not copy its table")


def test_keys_and_order(make_batch):
    metrics = make_batch().feed(RetrievalMetrics())
    assert list(metrics.compute()) == list(metrics.keys()) == KEYS
    assert list(RetrievalMetrics(ndcg_ks=(), coherent_ks=(), recall_ks=(3,), prefix="val/").keys()) == [
        "val/i2t_recall_at_3",
        "val/t2i_recall_at_3",
        "val/rsum",
    ]
    everything = RetrievalMetrics(rank_statistics=True, average_precision=True)
    assert {"i2t_median_rank", "t2i_mean_rank", "i2t_map_at_r", "t2i_r_precision"} < set(everything.keys())


def test_one_pass_and_one_state_for_all(make_batch, passes):
    metrics = make_batch().feed(RetrievalMetrics(), batch_size=5)
    values = metrics.compute()
    assert passes == [[str(place) for place in range(11)]]
    assert len({id(metric.image_embeds) for metric in metrics.values()}) == 1
    for name, metric in metrics.items(copy_state=False):  # as Lightning does
        assert metric.compute() == values[name]
    assert metrics.compute() == values
    assert len(passes) == 1
    make_batch(first_id=5000).feed(metrics)
    assert metrics.compute() != values
    assert len(passes) == 2


def test_members_alone_agree(make_batch):
    values = make_batch().feed(RetrievalMetrics()).compute()
    for metric in (RecallAtK(5, "t2i"), RSum(), RetrievalNDCG(), CoherentScore(direction="t2i")):
        assert make_batch().feed(metric).compute() == pytest.approx(values[metric.name])


def test_plain_collection_shares_the_state(make_batch):
    metrics = MetricCollection([RecallAtK(1), RSum(), RetrievalNDCG()])
    make_batch().feed(metrics, batch_size=4)
    assert len(metrics.compute_groups) == 1
    assert metrics.compute()["RetrievalNDCG"] == make_batch().feed(RetrievalNDCG()).compute()


def test_reset(make_batch, passes):
    metrics = make_batch().feed(RetrievalMetrics())
    metrics.compute()
    metrics.reset()
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(ValueError, match="nothing to eval"):
        metrics.compute()
    other = make_batch(seed=1)
    assert other.feed(metrics).compute() == other.feed(RetrievalMetrics()).compute()


def test_copies_share_nothing_but_labels_and_similarity(make_batch, passes):
    table = Table()
    metrics = make_batch().feed(RetrievalMetrics(relevance=table))
    values = metrics.compute()
    copies = [metrics.clone(prefix="val/"), copy.deepcopy(metrics)]
    assert [list(c.compute().values()) for c in copies] == [list(values.values())] * 2
    assert len(passes) == 1  # the copy knows the value of what it copied
    other = make_batch(first_id=5000)
    for one in copies:
        assert one.relevance is table
        other.feed(one)
        one.compute()
        assert metrics.compute() == values
    assert len(passes) == 3


def test_a_module_as_similarity_is_neither_owned_nor_copied(make_batch):
    class Bilinear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(8))

        def forward(self, images, texts):
            return images @ self.weight @ texts.T

        def method(self, images, texts):
            return self(images, texts)

        def __deepcopy__(self, memo):
            raise AssertionError("a metric must not copy the host")

    host = Bilinear()
    for similarity in (host, host.method):
        metrics = RetrievalMetrics(similarity=similarity)
        assert not list(metrics.parameters())
        assert not metrics.state_dict()
        assert copy.deepcopy(metrics).similarity is similarity
        assert all(metric.similarity is similarity for metric in metrics.values())
        values = make_batch().feed(metrics).compute()
        host.weight.data.mul_(-1)
        metrics.similarity = similarity
        assert metrics.compute() != values


def test_pickle(make_batch, passes):
    metrics = make_batch().feed(RetrievalMetrics())
    values = metrics.compute()
    loaded = pickle.loads(pickle.dumps(metrics))
    assert loaded.compute() == values
    make_batch(first_id=5000).feed(loaded)
    assert loaded.compute() != values


def test_forward_returns_the_value_of_the_batch(make_batch, passes):
    first, second = make_batch(12), make_batch(10, seed=1, first_id=1000)
    for make in (RetrievalMetrics, RetrievalNDCG):
        metric = make()
        metric(**vars(first))
        assert metric(**vars(second)) == second.feed(make()).compute()
        if make is RetrievalMetrics:
            assert len(passes) == 3
        both = second.feed(first.feed(make()))
        assert metric.compute() == both.compute()


@pytest.mark.filterwarnings("ignore:The default value for `maximize`:FutureWarning")  # torchmetrics 1.6
def test_tracker(make_batch):
    tracker = MetricTracker(RetrievalMetrics(recall_ks=(1, 5), ndcg_ks=(5,), coherent_ks=()), maximize=True)
    expected = []
    for seed in range(3):
        tracker.increment()
        batch = make_batch(seed=seed)
        batch.feed(tracker)
        expected.append(batch.feed(RetrievalNDCG(5)).compute())
    assert torch.equal(tracker.compute_all()["i2t_ndcg_at_5"], torch.stack(expected))
    assert tracker.best_metric()["i2t_ndcg_at_5"] == pytest.approx(float(max(expected)))


def test_without_labels_graded_metrics_are_left_out_once(make_batch):
    batch = make_batch()
    batch.text_features = None
    metrics = batch.feed(RetrievalMetrics())
    with pytest.warns(UserWarning, match=r"i2t_ndcg_at_10, .* left out: they need graded relevance"):
        values = metrics.compute()
    assert list(values) == [key for key in KEYS if "recall" in key or key == "rsum"]
    batch.feed(metrics)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.compute() == values
    with pytest.raises(MissingRelevanceError, match="RetrievalNDCG needs graded relevance: give update text_features"):
        batch.feed(RetrievalNDCG()).compute()
    with pytest.raises(MissingRelevanceError, match="needs graded relevance"):
        batch.feed(RetrievalMetrics(recall_ks=())).compute()


def test_labels_from_a_table(make_batch, reference, assert_equal, passes):
    batch = make_batch()
    images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
    ordered = batch.select(images, texts)

    def truth(table, **options):
        relevance = table.block(ordered.image_ids, ordered.text_ids, **options)
        return relevance.masked_fill(ordered.image_ids[:, None] == ordered.text_image_ids, 1).numpy()

    metrics = batch.feed(RetrievalMetrics(rank_statistics=True, relevance=Table()))
    assert_equal(metrics.compute(), reference(batch, relevance=truth(Table())))
    assert metrics.relevance_label == "toy labels"
    assert RetrievalMetrics().relevance_label == "text features"
    metrics.relevance = Table(2)
    expected = reference(batch, relevance=truth(Table(2)))
    assert_equal(metrics.compute(), expected)
    metrics.relevance = None
    first, second, third = metrics.compute_under([None, Table(), Table(2)])
    assert_equal(first, reference(batch))
    graded = [key for key in expected if "ndcg" in key or "coherent" in key]
    assert_equal(third, {key: expected[key] for key in graded})
    assert second != third
    assert [len(names) for names in passes] == [15, 15, 15, 4, 4]


def test_labels_and_similarity_of_a_metric_come_first(make_batch):
    def distance(images, texts):
        return -torch.cdist(images, texts)

    table, batch = Table(2), make_batch()
    own = [RetrievalNDCG(relevance=table, similarity=distance), RecallAtK(5)]
    first, second = batch.feed(RetrievalMetrics.of(own)).compute_under([None, Table()], lambda i, t: i @ t.T)
    assert first["i2t_ndcg_at_10"] == batch.feed(RetrievalNDCG(relevance=table, similarity=distance)).compute()
    assert first["i2t_recall_at_5"] == batch.feed(RecallAtK(5, similarity=lambda i, t: i @ t.T)).compute()
    assert second == {}  # nothing depends on the other table


def test_compute_under_another_similarity(make_batch):
    batch = make_batch()

    def distance(images, texts):
        return -torch.cdist(images, texts)

    (values,) = batch.feed(RetrievalMetrics()).compute_under([None], distance)
    assert values == batch.feed(RetrievalMetrics(similarity=distance)).compute()


def test_a_table_that_returns_its_storage_is_not_written_to(make_batch):
    batch = make_batch()
    stored = torch.zeros(len(batch.image_ids), len(batch.text_ids))

    class Stored(Table):
        def block(self, image_ids, text_ids, captions_per_image=None):
            return stored

    batch.feed(RetrievalNDCG(relevance=Stored())).compute()
    assert not stored.any()


class Host(pl.LightningModule):
    def __init__(self, batches, log):
        super().__init__()
        self.batches = batches
        self.log_metrics = log
        self.metrics = RetrievalMetrics(prefix="val/")
        self.single = RetrievalNDCG(5)

    def validation_step(self, batch, index):
        inputs = vars(self.batches[int(batch)])
        self.metrics.update(**inputs)
        self.single.update(**inputs)
        if self.log_metrics:
            self.log_dict(self.metrics, batch_size=1)
        self.log("val/single", self.single, batch_size=1)

    def on_validation_epoch_end(self):
        if not self.log_metrics:
            self.log_dict(self.metrics.compute())
            self.metrics.reset()

    def val_dataloader(self):
        return torch.utils.data.DataLoader(torch.arange(len(self.batches)))


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*litlogger.*", "ignore:.*LeafSpec.*")
def test_logging(make_batch, passes, log):
    whole = make_batch(20)
    halves = [
        whole.select(part, torch.isin(whole.text_image_ids, whole.image_ids[part]))
        for part in torch.arange(20).split(8)
    ]
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, **quiet)
    host = Host(halves, log)
    expected = whole.feed(RetrievalMetrics()).compute()
    passes.clear()
    for _ in range(2):
        (logged,) = trainer.validate(host, verbose=False)
        assert logged["val/single"] == pytest.approx(float(whole.feed(RetrievalNDCG(5)).compute()))
        for name, value in expected.items():
            assert logged[f"val/{name}"] == pytest.approx(float(value))
    assert sum(len(names) == 11 for names in passes) == 2


def test_yaml():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(RetrievalMetrics, "metrics")
    parser.add_subclass_arguments(RecallAtK, "one")
    config = parser.parse_object(
        {
            "metrics": {"class_path": "RetrievalMetrics", "init_args": {"recall_ks": [1, 2], "folds": 5}},
            "one": {"class_path": "RecallAtK", "init_args": {"k": 3, "direction": "t2i", "chunk_size": 64}},
        }
    )
    built = parser.instantiate(config) if hasattr(parser, "instantiate") else parser.instantiate_classes(config)
    assert "t2i_recall_at_2" in built.metrics
    assert built.metrics["rsum"].protocol.folds == 5
    assert built.one.name == "t2i_recall_at_3"
