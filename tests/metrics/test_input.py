"""Wrong arguments and wrong data, each with an error that names them."""

import pytest
import torch

from vse_lightning import functional
from vse_lightning.metrics import (
    CoherentScore,
    MAPAtR,
    MeanRank,
    MedianRank,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RPrecision,
    RSum,
    evaluate_scores,
)


@pytest.mark.parametrize("metric", [RecallAtK, MedianRank, MeanRank, RetrievalNDCG, CoherentScore, MAPAtR, RPrecision])
def test_unknown_direction(metric):
    with pytest.raises(ValueError, match=r"direction must be one of 'i2t', 't2i'.*, got 'both'"):
        metric(direction="both")


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5"])
@pytest.mark.parametrize("metric", [RecallAtK, RetrievalNDCG, CoherentScore])
def test_cut_off(metric, k):
    with pytest.raises(ValueError, match=r"k must be a whole number( of at least [12]| or 'relevant')?, got"):
        metric(k=k)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 63}, "chunk_size must be a whole number of at least 64, got 63"),
        ({"folds": 0}, "folds must be a whole number of at least 1, got 0"),
        ({"captions_per_image": 0}, "captions_per_image must be a whole number of at least 1, got 0"),
        ({"gain": "cubic"}, "gain must be one of"),
        ({"recall_ks": (1, 1)}, "must name each metric once, .*got i2t_recall_at_1 2 times, t2i_recall_at_1 2 times"),
        ({"recall_ks": (), "ndcg_ks": (), "coherent_ks": ()}, "not all be empty"),
        ({"recall_ks": (0,)}, "every entry of recall_ks must be a whole number of at least 1, got 0"),
        ({"relevance": object()}, "relevance must have a method block"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics(**options)


def test_options_of_single_metrics():
    with pytest.raises(ValueError, match="recall must be one of 'any', 'all'"):
        RecallAtK(recall="most")
    with pytest.raises(ValueError, match="ks must name at least one"):
        RSum(())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_embeds": torch.full((2, 3), torch.nan)}, "image_embeds must be finite, but 2 of 2 rows"),
        ({"text_embeds": torch.full((3, 3), torch.inf)}, "text_embeds must be finite, but 3 of 3 rows"),
        (
            {"image_embeds": torch.zeros(2, 3, dtype=torch.int64)},
            r"image_embeds must be floating point \(rows, width\)",
        ),
        ({"image_embeds": torch.zeros(2, 3, 1)}, "image_embeds must be floating point"),
        ({"image_ids": torch.arange(3)}, "image_ids must have one entry for each of the 2 image embeddings, got 3"),
        (
            {"text_image_ids": torch.arange(2)},
            "text_image_ids must have one entry for each of the 3 text embeddings, got 2",
        ),
        ({"text_ids": torch.arange(2)}, "text_ids must have one entry for each of the 3 text embeddings"),
        ({"text_features": torch.zeros(2, 2)}, "text_features must have one entry for each of the 3 text embeddings"),
        ({"text_features": torch.full((3, 2), torch.nan)}, "text_features must be finite"),
        ({"image_ids": torch.zeros(2)}, r"image_ids must be integers or strings, one a row, got torch.float32 \(2,\)"),
        ({"image_ids": [0, None]}, "image_ids must be integers or strings, one a row, got a list of NoneType, int"),
        (
            {"image_ids": ["a.jpg", "b.jpg"]},
            "image_ids and text_image_ids must be of one kind, got strings and integers",
        ),
        ({"image_ids": None}, "image_ids must be given where text_image_ids are"),
        ({"image_ids": None, "text_image_ids": None}, "image_ids and text_image_ids must be given, got None: batches"),
        ({"image_ids": torch.tensor([0, -1])}, "image_ids must not hold -1: as the image of a text it means"),
    ],
)
def test_update(change, message):
    inputs = {
        "image_embeds": torch.ones(2, 3),
        "text_embeds": torch.ones(3, 3),
        "image_ids": torch.arange(2),
        "text_image_ids": torch.tensor([0, 0, 1]),
    }
    metric = RecallAtK()
    metric.update(**inputs)
    with pytest.raises(ValueError, match=message):
        RecallAtK().update(**inputs | change)
    if change.keys() & {"text_features", "text_ids"} and "finite" not in message:
        return
    assert metric.compute() <= 1


def test_widths_differ_for_a_similarity_that_takes_them():
    metric, ids = RecallAtK(), torch.arange(3)
    metric.update(torch.eye(3), torch.eye(4)[:3], ids, ids)
    with pytest.raises(
        ValueError, match="image_embeds and text_embeds must have one width for the cosine, got 3 and 4"
    ):
        metric.compute()
    metrics = RetrievalMetrics((1,), (), ())
    metrics.update(torch.eye(3), torch.eye(4)[:3], ids, ids)
    (values,) = metrics.compute_under([None], lambda images, texts: images @ texts[:, :3].T)
    assert values["rsum"] == 200


def test_later_updates_must_fit():
    def inputs(first, width=3, **more):
        ids = torch.arange(first, first + 2)
        embeds = torch.ones(2, width)
        return {"image_embeds": embeds, "text_embeds": embeds, "image_ids": ids, "text_image_ids": ids, **more}

    metric = RetrievalNDCG()
    metric.update(**inputs(0, text_features=torch.ones(2, 2)))
    with pytest.raises(ValueError, match="text_features must be given in every update or in none: earlier ones had it"):
        metric.update(**inputs(2))
    with pytest.raises(ValueError, match="text_ids must be given in every update or in none: earlier ones had none"):
        metric.update(**inputs(2, text_features=torch.ones(2, 2), text_ids=torch.arange(2)))
    with pytest.raises(ValueError, match="text_features must keep its width 2, got 5"):
        metric.update(**inputs(2, text_features=torch.ones(2, 5)))
    with pytest.raises(ValueError, match="image_embeds must keep its width 3, got 4"):
        metric.update(**inputs(2, width=4, text_features=torch.ones(2, 2)))


def test_gallery_that_does_not_fit_together():
    embeds, ids = torch.eye(3), torch.arange(3)
    metric = RecallAtK()
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=torch.tensor([0, 1, 7]))
    with pytest.raises(ValueError, match="text_image_ids names images that update never saw: 7"):
        metric.compute()
    metric.reset()
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=torch.tensor([0, 1, 1]))
    assert metric.compute() == 1  # image 2 has no text: a candidate that is no query
    metric = RecallAtK(folds=2)
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=ids)
    with pytest.raises(ValueError, match="folds must divide the number of images, got 2 folds of 3 images"):
        metric.compute()


def test_a_failed_compute_leaves_the_metric_usable():
    embeds, ids = torch.eye(3), torch.arange(3)
    metric = RecallAtK()
    metric.update(embeds[:2], embeds, image_ids=ids[:2], text_image_ids=ids)
    with pytest.raises(ValueError, match="never saw: 2"):
        metric.compute()
    metric.update(embeds[2:], embeds[:0], image_ids=ids[2:], text_image_ids=ids[:0])
    assert metric.compute() == 1


class Table:
    label = "broken labels"

    def __init__(self, block):
        self.stored = block

    def block(self, image_ids, text_ids, captions_per_image=None):
        return self.stored


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (torch.full((3, 3), 1.5), r"relevance must lie in \[0, 1\], but broken labels has values from 1.5 to 1.5"),
        (torch.full((3, 3), torch.nan), r"relevance must lie in \[0, 1\]"),
        (torch.zeros(2, 3), r"relevance.block must return \(3, 3\) for these ids, got \(2, 3\)"),
    ],
)
def test_broken_tables(block, message):
    embeds, ids = torch.eye(3), torch.arange(3)
    metric = RetrievalNDCG(relevance=Table(block))
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=ids)
    with pytest.raises(ValueError, match="a relevance table needs text_ids in update"):
        metric.compute()
    metric.reset()
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=ids, text_ids=ids)
    with pytest.raises(ValueError, match=message):
        metric.compute()


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (lambda i, t: torch.full((len(i), len(t)), torch.nan), "similarity returned NaN"),
        (lambda i, t: torch.zeros(1), r"similarity must return scores of shape \(3, 3\), got \(1,\)"),
    ],
)
def test_broken_similarities(similarity, message):
    embeds, ids = torch.eye(3), torch.arange(3)
    metric = RecallAtK(similarity=similarity)
    metric.update(embeds, embeds, image_ids=ids, text_image_ids=ids)
    with pytest.raises(ValueError, match=message):
        metric.compute()


def test_given_matrices():
    graded, binary = {"ndcg": RetrievalNDCG()}, {"recall": RecallAtK()}
    with pytest.raises(ValueError, match="ndcg needs graded relevance"):
        evaluate_scores(graded, torch.rand(3, 3))
    with pytest.raises(ValueError, match=r"positives must be given unless scores are square, got scores \(2, 3\)"):
        evaluate_scores(binary, torch.rand(2, 3))
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        evaluate_scores(binary, torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match=r"relevance must lie in \[0, 1\]"):
        evaluate_scores(graded, torch.rand(3, 3), torch.full((3, 3), -1.0))


def test_one_candidate_has_no_order():
    with pytest.raises(ValueError, match="k must be a whole number of at least 2, got 1"):
        CoherentScore(1)
    with pytest.raises(ValueError, match="every entry of coherent_ks must be a whole number of at least 2, got 1"):
        RetrievalMetrics(coherent_ks=(1,))
    with pytest.raises(ValueError, match="k must be a whole number of at least 2, got 1"):
        functional.coherent_score(torch.rand(2, 3), torch.rand(2, 3), 1)
