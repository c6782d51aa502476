"""One call from embeddings to numbers."""

import warnings

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.retrieval import RetrievalRecall

import vse_lightning
from vse_lightning.metrics import (
    MedianRank,
    MissingRelevanceError,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    evaluate_embeddings,
)
from vse_lightning.relevance import FeatureTable

RECALLS = [*(f"{side}_recall_at_{k}" for side in ("i2t", "t2i") for k in (1, 5, 10)), "rsum"]


def arguments_of(batch):
    given = dict(vars(batch))
    return {"image_embeds": given.pop("image_embeds"), "text_embeds": given.pop("text_embeds")}, given


def test_pairs(make_batch, reference):
    batch = make_batch(40, captions=(1,))
    batch.image_embeds = batch.image_embeds[(batch.text_image_ids[:, None] == batch.image_ids).int().argmax(dim=1)]
    batch.image_ids = batch.text_image_ids = batch.text_ids = torch.arange(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody asked for graded metrics
        values = evaluate_embeddings(batch.image_embeds, batch.text_embeds)
    assert list(values) == RECALLS
    expected = reference(batch)
    assert all(type(value) is float for value in values.values())
    assert values == pytest.approx({name: expected[name] for name in RECALLS}, rel=1e-6)
    with pytest.raises(ValueError, match="without image_ids and text_image_ids, embeddings must be pairs, got 40 im"):
        evaluate_embeddings(batch.image_embeds, batch.text_embeds[1:])
    with pytest.raises(ValueError, match="text_image_ids must be given where image_ids are"):
        evaluate_embeddings(batch.image_embeds, batch.text_embeds, image_ids=batch.image_ids)


@pytest.mark.parametrize("form", ["tensors", "arrays", "half", "lists of strings"])
def test_ids_and_features(make_batch, form):
    batch = make_batch(30)
    expected = {name: float(value) for name, value in batch.feed(RetrievalMetrics()).compute().items()}
    embeds, given = arguments_of(batch)
    if form == "arrays":
        embeds, given = ({name: rows.numpy() for name, rows in part.items()} for part in (embeds, given))
    elif form == "half":
        embeds = {name: rows.half() for name, rows in embeds.items()}
    elif form == "lists of strings":
        given |= {name: [f"{number}.jpg" for number in given[name].tolist()] for name in given if "ids" in name}
    values = evaluate_embeddings(**embeds, **given)
    assert values == pytest.approx(expected, abs=2e-3 if form == "half" else 1e-6, rel=1e-2 if form == "half" else 1e-6)


def test_relevance_as_a_table_or_a_matrix(make_batch):
    batch = make_batch(30)
    table = FeatureTable(batch.text_features, batch.text_image_ids, batch.text_ids, label="by hand")
    embeds, given = arguments_of(batch)
    del given["text_features"]
    expected = evaluate_embeddings(**embeds, **given, relevance=table)
    assert expected == pytest.approx(
        {name: float(value) for name, value in batch.feed(RetrievalMetrics(relevance=table)).compute().items()}
    )
    matrix = table.block(batch.image_ids, batch.text_ids)
    for relevance in (matrix, matrix.numpy(), matrix + 5e-5):
        assert evaluate_embeddings(**embeds, **given, relevance=relevance) == pytest.approx(expected, abs=1e-3)
    del given["text_ids"]
    assert evaluate_embeddings(**embeds, **given, relevance=matrix) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="a relevance table needs text_ids in update"):
        evaluate_embeddings(**embeds, **given, relevance=table)
    with pytest.raises(ValueError, match=r"relevance must be \(30, 80\) images x texts, or a table .* got \(80, 30\)"):
        evaluate_embeddings(**embeds, **given, relevance=matrix.T)
    with pytest.raises(
        ValueError, match=r"relevance must lie in \[0, 1\], but given relevance has values from .* to 2"
    ):
        evaluate_embeddings(**embeds, **given, relevance=2 * matrix)


def test_a_matrix_with_a_row_for_each_caption(make_batch):
    """As VSE++ writes them: the picture repeats."""
    batch = make_batch(20)
    rows = (batch.text_image_ids[:, None] == batch.image_ids).int().argmax(dim=1)
    matrix = torch.rand(20, len(rows))
    ids = {"text_image_ids": batch.text_image_ids}
    expected = evaluate_embeddings(
        batch.image_embeds, batch.text_embeds, image_ids=batch.image_ids, relevance=matrix, **ids
    )
    repeated = evaluate_embeddings(
        batch.image_embeds[rows], batch.text_embeds, image_ids=batch.image_ids[rows], relevance=matrix[rows], **ids
    )
    assert repeated == pytest.approx(expected)


def test_metrics_of_any_kind_keep_their_state(make_batch):
    batch, other = make_batch(30), make_batch(20, seed=1)
    embeds, given = arguments_of(batch)
    for metrics in (
        RetrievalMetrics(folds=5),
        MetricCollection({"hits": RecallAtK(1), "place": MedianRank()}),
        {"hits": RecallAtK(1)},
        [RecallAtK(1), RetrievalNDCG(5)],
        RecallAtK(1),
    ):
        holder = metrics if isinstance(metrics, MetricCollection) else RetrievalMetrics.of(metrics)
        before = other.feed(holder).compute()
        values = evaluate_embeddings(**embeds, **given, metrics=metrics)
        assert holder.compute() == before
        holder.reset()
        assert values == pytest.approx({name: float(value) for name, value in batch.feed(holder).compute().items()})


def test_graded_metrics_without_labels(make_batch):
    embeds, given = arguments_of(make_batch(10))
    del given["text_features"]
    with pytest.warns(
        UserWarning, match="i2t_ndcg_at_10, .* left out: they need graded relevance: give update text_feat"
    ):
        assert list(evaluate_embeddings(**embeds, **given, metrics=RetrievalMetrics())) == RECALLS
    with pytest.raises(MissingRelevanceError, match="mine needs graded relevance: give update text_features"):
        evaluate_embeddings(**embeds, **given, metrics={"mine": RetrievalNDCG()})
    with pytest.raises(TypeError, match=r"metrics must be of vse_lightning\.metrics .* got torchmetrics"):
        evaluate_embeddings(**embeds, **given, metrics=[RetrievalRecall()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_embeds": [[1.0, None]]}, "image_embeds must be a tensor or an array, got list"),
        (
            {"image_embeds": np.eye(3, dtype=int)},
            r"image_embeds must be floating point \(rows, width\), got torch.int64",
        ),
        ({"text_embeds": np.full((3, 3), np.nan)}, "text_embeds must be finite, but 3 of 3 rows"),
        ({"text_embeds": np.eye(3)[:, :2]}, "must have one width for the cosine, got 3 and 2"),
        ({"text_features": np.eye(2)}, "text_features must have one entry for each of the 3 text embeddings, got 2"),
        ({"image_ids": [0, 1, -1], "text_image_ids": [0, 1, 1]}, "image_ids must not hold -1"),
        ({"image_ids": [0, 0, 1], "text_image_ids": [0, 1, 1]}, "image_ids: one id must mean one image"),
    ],
)
def test_wrong_input(change, message):
    given = {"image_embeds": np.eye(3), "text_embeds": np.eye(3)}
    with pytest.raises(ValueError, match=message):
        evaluate_embeddings(**given | change)


def test_at_the_top_level():
    assert vse_lightning.evaluate_embeddings is evaluate_embeddings
    with pytest.raises(TypeError, match="positional"):
        evaluate_embeddings(torch.eye(2), torch.eye(2), [0, 1])
