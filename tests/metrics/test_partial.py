"""A part of the data set, as a sanity check or limit_val_batches sees it: no error that the whole would not have."""

import json
import warnings

import pytest
import torch

from vse_lightning.metrics import (
    PMRP,
    CoherentScore,
    ECCVCaption,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
    RSum,
)

WHOLE = "metrics of a part of the data set cannot be compared with those of all"


def test_folds_are_not_formed(make_batch):
    batch = make_batch(7)
    metrics = batch.feed(RetrievalMetrics(folds=5))
    with pytest.raises(ValueError, match="folds must divide the number of images, got 5 folds of 7 images"):
        metrics.compute_under([None])
    with pytest.warns(UserWarning, match=f"{WHOLE}; it is measured as one instead of 5 folds.$"):
        (values,) = metrics.compute_under([None], partial=True)
    assert values == batch.feed(RetrievalMetrics()).compute()
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        assert metrics.compute_under([None], partial=True) == [values]
    metrics.reset()
    whole = make_batch(10)
    assert whole.feed(metrics).compute_under([None]) == [whole.feed(RetrievalMetrics(folds=5)).compute()]


def test_one_fold_needs_no_word(make_batch):
    batch = make_batch(7)
    metrics = batch.feed(RetrievalMetrics())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.compute_under([None], partial=True) == [metrics.compute()]


def test_metrics_of_the_whole_data_set_are_left_out(make_batch, ground_truth):
    batch = make_batch(7)
    metrics = batch.feed(RetrievalMetrics((1,), (), (), extra=[ECCVCaption(ground_truth=ground_truth)]))
    with pytest.warns(UserWarning, match=f"{WHOLE}; left out: eccv_caption.$"):
        (values,) = metrics.compute_under([None], partial=True)
    assert list(values) == ["i2t_recall_at_1", "t2i_recall_at_1", "rsum"]
    with pytest.raises(ValueError, match="image_ids must be COCO ids, of all the 3 images of the benchmark"):
        metrics.compute_under([None])


def test_a_collection_of_nothing_else(make_batch, tmp_path):
    (tmp_path / "categories.json").write_text(json.dumps({"1": [1]}))
    metrics = make_batch(7, first_id=100).feed(RetrievalMetrics.of([PMRP(tmp_path / "categories.json")]))
    with pytest.warns(UserWarning, match="left out: pmrp"):
        assert metrics.compute_under([None], partial=True) == [{}]


def test_metrics_without_a_query_are_left_out(make_batch):
    batch = make_batch(5, captions=(1,))
    names = ["t2t_recall_at_1"]
    metrics = batch.feed(RetrievalMetrics.of([RecallAtK(1), RecallAtK(1, "t2t")]))
    with pytest.warns(UserWarning, match=f"left out: {', '.join(names)}.$"):
        (values,) = metrics.compute_under([None], partial=True)
    assert list(values) == ["i2t_recall_at_1"]
    one = make_batch(1).feed(RetrievalMetrics.of([RSum(), CoherentScore(direction="i2i")]))
    with pytest.warns(UserWarning, match="left out: i2i_coherent_score_at_100"):
        assert one.compute_under([None], partial=True) == [{"rsum": torch.tensor(600.0)}]


def test_texts_whose_images_have_not_come_yet(make_batch):
    """A loader of images and then of captions: the part may end anywhere."""
    batch = make_batch(10)
    metrics = RetrievalMetrics()
    texts = {"text_embeds": batch.text_embeds, "text_image_ids": batch.text_image_ids, "text_ids": batch.text_ids}
    texts["text_features"] = batch.text_features
    none = {name: rows[:0] for name, rows in texts.items()}
    metrics.update(image_embeds=batch.image_embeds[:6], image_ids=batch.image_ids[:6], **none)
    with pytest.warns(UserWarning, match=f"{WHOLE}; left out: i2t_recall_at_1, "):
        assert metrics.compute_under([None, None], partial=True) == [{}, {}]
    with pytest.raises(ValueError, match="there is nothing to evaluate"):
        metrics.compute_under([None])
    metrics.update(image_embeds=batch.image_embeds[:0], image_ids=batch.image_ids[:0], **texts)
    with pytest.raises(ValueError, match="text_image_ids names images that update never saw"):
        metrics.compute_under([None])
    (values,) = metrics.compute_under([None], partial=True)
    seen = torch.isin(batch.text_image_ids, batch.image_ids[:6])
    batch.text_image_ids = batch.text_image_ids.where(seen, -1)
    expected = RetrievalMetrics()
    expected.update(**vars(batch.select(torch.arange(6), torch.arange(len(batch.text_ids)))))
    assert values == expected.compute()


def test_images_whose_texts_have_not_come_yet_are_not_graded(make_batch):
    batch = make_batch(10)
    texts = torch.isin(batch.text_image_ids, batch.image_ids[:6])
    metrics = RetrievalMetrics()
    metrics.update(**vars(batch.select(torch.arange(10), texts)))
    with pytest.warns(UserWarning, match="left out: they need graded relevance: images without a text"):
        (values,) = metrics.compute_under([None], partial=True)
    assert "rsum" in values
    assert "i2t_ndcg_at_10" not in values


def test_a_batch_alone_is_one_fold(make_batch):
    metrics = RetrievalMetrics((1,), (), (), folds=2)
    first = make_batch(3)
    assert metrics(**vars(first)) == first.feed(RetrievalMetrics((1,), (), ())).compute()


def test_other_errors_stay(make_batch):
    metrics = RetrievalMetrics.of([RetrievalNDCG()])
    embeds, ids = torch.eye(3), torch.arange(3)
    metrics.update(embeds, embeds, ids, ids)
    metrics.update(-embeds, embeds, ids, ids)
    with pytest.raises(ValueError, match="one id must mean one image"):
        metrics.compute_under([None], partial=True)
