"""Collections of other metrics than the standard protocol's, those of users among them."""

import copy

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.retrieval import RetrievalRecall

from vse_lightning.metrics import (
    PMRP,
    ECCVCaption,
    MAPAtR,
    MedianRank,
    Reading,
    RecallAtK,
    RetrievalMetric,
    RetrievalMetrics,
    RetrievalNDCG,
    RSum,
)
from vse_lightning.ranking import query_values


class ReciprocalRank(RetrievalMetric):
    """As a user would write it, with an option of its own."""

    directions = ("i2t",)
    reading = Reading(positives=1)

    def __init__(self, power: float = 1.0, **options):
        super().__init__(**options)
        self.power = power
        self.name = "i2t_reciprocal_rank"

    def query_values(self, ranking):
        return ranking.positive_ranks[:, 0].float() ** -self.power


class Gain(RetrievalMetric):
    """Without a constructor."""

    name, directions, reading = "t2i_gain", ("t2i",), Reading(listed=3)

    def query_values(self, ranking):
        return ranking.relevance[:, :3].mean(dim=1)


class Table:
    label = "toy labels"

    def block(self, image_ids, text_ids, captions_per_image=None):
        return torch.sin(image_ids[:, None] + text_ids[None, :] * 0.7).abs()


@pytest.fixture
def passes(monkeypatch):
    seen = []
    values = query_values.Pass.values
    monkeypatch.setattr(query_values.Pass, "values", lambda *given: seen.append(given) or values(*given))
    return seen


@pytest.fixture
def coco(make_batch, ground_truth):
    """A gallery of the benchmark's ids."""
    batch = make_batch(3, captions=(2, 1, 1))
    order = batch.image_ids.argsort()
    rows = torch.searchsorted(batch.image_ids[order], batch.text_image_ids)
    batch.image_ids = torch.tensor([10, 11, 12])[order.argsort()]
    batch.text_image_ids = torch.tensor([10, 11, 12])[rows]
    batch.text_ids = torch.tensor([100, 101, 102, 103])
    return batch, ground_truth


def test_names_of_the_user_and_one_pass(make_batch, passes, recwarn):
    batch = make_batch()
    given = MetricCollection({"hits": RecallAtK(1), "place": MedianRank("t2i"), "sum": RSum(), "gain": Gain()})
    metrics = RetrievalMetrics.of(given)
    values = batch.feed(metrics, batch_size=5).compute()
    assert list(values) == list(metrics) == ["gain", "hits", "place", "sum"]  # as the given collection sorts them
    assert len(passes) == 1
    assert len({id(metric.image_embeds) for metric in metrics.values(copy_state=False)}) == 1
    assert values == batch.feed(given).compute()
    assert not recwarn


def test_affixes_and_lists(make_batch):
    batch = make_batch()
    classes = RetrievalMetrics.of(MetricCollection([RecallAtK(1), RSum()], prefix="their_", postfix="_all"))
    assert set(batch.feed(classes).compute()) == {"their_RecallAtK_all", "their_RSum_all"}
    own = RetrievalMetrics.of([ReciprocalRank(), RecallAtK(5, "t2i")])
    assert list(batch.feed(own).compute()) == ["i2t_reciprocal_rank", "t2i_recall_at_5"]
    assert list(RetrievalMetrics.of(RecallAtK(5))) == ["i2t_recall_at_5"]
    standard = RetrievalMetrics()
    assert RetrievalMetrics.of(standard) is standard


def test_given_metrics_are_left_alone(make_batch):
    table = Table()
    given = {"mine": RetrievalNDCG(relevance=table, similarity=lambda i, t: i @ t.T, folds=2)}
    batch = make_batch(20)
    batch.feed(given["mine"])
    metrics = RetrievalMetrics.of(given)
    assert given["mine"].name == "i2t_ndcg_at_10"
    assert not metrics["mine"].image_embeds
    assert metrics.relevance is metrics["mine"].relevance is table
    assert metrics.similarity is given["mine"].similarity
    assert batch.feed(metrics).compute()["mine"] == given["mine"].compute()


def test_extra_metrics(make_batch, passes):
    batch = make_batch(20)
    metrics = RetrievalMetrics(
        (1,), (5,), (), extra=[ReciprocalRank(2.0), Gain(), MAPAtR()], relevance=Table(), folds=2
    )
    values = batch.feed(metrics).compute()
    assert list(values)[-4:] == ["rsum", "i2t_reciprocal_rank", "t2i_gain", "i2t_map_at_r"]
    assert len(passes) == 2  # the folds
    options = {"relevance": Table(), "folds": 2}  # those of the collection hold for what has none of its own
    for name, metric in (("i2t_reciprocal_rank", ReciprocalRank(2.0, **options)), ("t2i_gain", Gain(**options))):
        assert values[name] == batch.feed(metric).compute()
    own = RetrievalMetrics((1,), (), (), extra=[ReciprocalRank(folds=4)], folds=2)
    assert own["i2t_reciprocal_rank"].protocol.folds == 4


def test_one_metric_in_two_collections(make_batch):
    shared = ReciprocalRank()
    first, second = (RetrievalMetrics((1,), (), (), extra=[shared]) for _ in range(2))
    make_batch(10).feed(first)
    make_batch(12, seed=1).feed(second)
    assert first.compute() == make_batch(10).feed(RetrievalMetrics((1,), (), (), extra=[shared])).compute()
    assert copy.deepcopy(first).compute() == first.compute()


def test_ground_truth_beside_them(coco, passes):
    batch, folder = coco
    eccv = ECCVCaption((1,), folder)
    metrics = RetrievalMetrics.of({"hits": RecallAtK(1), "people": eccv})
    values = batch.feed(metrics).compute()
    given = dict(vars(batch))
    eccv.update(**given)
    assert values == {"hits": batch.feed(RecallAtK(1)).compute(), **eccv.compute()}
    assert metrics.compute_under([None, Table()]) == [values, {}]
    (turned,) = metrics.compute_under([None], lambda images, texts: -images @ texts.T)
    other = ECCVCaption((1,), folder, similarity=lambda images, texts: -images @ texts.T)
    other.update(**given)
    assert turned.items() > other.compute().items()
    assert metrics(**given) == {"hits": batch.feed(RecallAtK(1)).compute()}  # a batch is no benchmark


def test_values_of_one_name_get_that_of_their_metric(coco):
    batch, folder = coco
    twice = {"cosine": ECCVCaption((1,), folder), "dot": ECCVCaption((1,), folder, lambda i, t: i @ t.T)}
    collection = MetricCollection(twice)
    metrics = RetrievalMetrics.of(collection)
    given = dict(vars(batch))
    collection.update(**given)
    assert batch.feed(metrics).compute() == collection.compute()
    assert "dot_i2t_eccv_map_at_r" in metrics.compute()


def test_what_a_plain_collection_would_merge_wrongly(coco):
    """The state of a metric that takes no features looked equal to that of one which does."""
    batch, folder = coco
    collection = MetricCollection({"a": ECCVCaption((1,), folder), "b": RetrievalNDCG()})
    collection.update(**vars(batch))
    assert collection.compute()["b"] == batch.feed(RetrievalNDCG()).compute()


@pytest.mark.parametrize("foreign", [RetrievalRecall(), MeanMetric(), torch.nn.Linear(1, 1), "RecallAtK", None])
def test_foreign_metrics(foreign):
    name = type(foreign).__name__
    for given in ({"a": RecallAtK(), "b": foreign}, [RecallAtK(), foreign], foreign):
        with pytest.raises(
            TypeError, match=rf"must be of vse_lightning.metrics or a subclass .* got .*{name}: log other"
        ):
            RetrievalMetrics.of(given)
    with pytest.raises(TypeError, match=r"extra must be of vse_lightning\.metrics"):
        RetrievalMetrics(extra=[foreign])


def test_foreign_members_of_a_collection():
    with pytest.raises(TypeError, match=r"metrics\['mean'\] must be of vse_lightning.metrics .* got .*MeanMetric"):
        RetrievalMetrics.of(MetricCollection({"ours": RecallAtK(), "mean": MeanMetric()}))


class Nameless(RetrievalMetric):
    directions, reading = ("i2t",), Reading(positives=1)

    def query_values(self, ranking):
        return ranking.positive_ranks[:, 0]


class Unread(Nameless):
    name, reading = "unread", None


class Sideways(Nameless):
    name, directions = "sideways", ("v2t",)


class OneWord(Nameless):
    name, directions = "one_word", "i2t"


class Odd(Nameless):
    name = "ndcg@10"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Nameless, "extra: Nameless must have names of letters, .* got None"),
        (Odd, "extra: Odd must have names of letters, digits, '_' and '-' that begin with a letter, got 'ndcg@10'"),
        (Unread, r"extra: Unread must have directions, such as \('i2t',\), and a reading, .* got \('i2t',\), None"),
        (OneWord, "extra: OneWord must have directions, .* got 'i2t'"),
        (Sideways, "direction must be one of i2t, t2i, i2i, t2t, got 'v2t'"),
    ],
)
def test_metrics_that_do_not_say_enough(metric, message):
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics(extra=[metric()])


def test_names_are_checked_at_construction(tmp_path):
    with pytest.raises(ValueError, match=r"must name each metric once, .* got i2t_recall_at_5 2 times"):
        RetrievalMetrics(extra=[RecallAtK(5)])
    with pytest.raises(ValueError, match="metrics must have different names, got i2t_recall_at_5, i2t_recall_at_5"):
        RetrievalMetrics.of([RecallAtK(5), RecallAtK(5, folds=2)])
    for name in ("R@1", "recall.1", "", "_x"):
        with pytest.raises(ValueError, match="metrics must have names of letters, digits, '_' and '-'"):
            RetrievalMetrics.of({name: RecallAtK()})
    with pytest.raises(ValueError, match="metrics must be at least one"):
        RetrievalMetrics.of({})
    (tmp_path / "categories.json").write_text('{"1": [1]}')
    twice = {"i2t_pmrp": RecallAtK(), "p": PMRP(tmp_path / "categories.json")}
    metrics, embeds = RetrievalMetrics.of(twice), torch.eye(2)
    metrics.update(embeds, embeds, [1, 2], [1, 2], text_ids=[1, 2])
    assert list(metrics.compute()) == ["i2t_pmrp", "p_i2t_pmrp", "p_t2i_pmrp"]


def test_yaml():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(RetrievalMetrics, "metrics")
    extra = [
        {"class_path": "vse_lightning.metrics.MedianRank", "init_args": {"direction": "t2i"}},
        {"class_path": f"{__name__}.ReciprocalRank", "init_args": {"power": 2.0, "chunk_size": 64}},
        {"class_path": f"{__name__}.Gain"},
    ]
    options = {"extra": extra, "ndcg_ks": [5, "relevant"]}
    config = parser.parse_object({"metrics": {"class_path": "RetrievalMetrics", "init_args": options}})
    built = (parser.instantiate if hasattr(parser, "instantiate") else parser.instantiate_classes)(config).metrics
    assert {"i2t_ndcg_at_5", "t2i_ndcg_at_relevant"} < set(built)
    assert list(built)[-3:] == ["t2i_median_rank", "i2t_reciprocal_rank", "t2i_gain"]
    assert built["i2t_reciprocal_rank"].power == 2
