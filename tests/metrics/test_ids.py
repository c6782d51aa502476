"""Ids as people have them, and one id that stands for two things."""

import numpy as np
import pytest
import torch

from vse_lightning.metrics import PMRP, MeanRank, RecallAtK, RetrievalMetrics, RetrievalNDCG


def named(ids):
    return [f"pictures/{number}.jpg" for number in ids.tolist()]


def forms_of(ids):
    return {
        "list": ids.tolist(),
        "array": ids.numpy(),
        "int32": ids.int(),
        "one column": ids[:, None],
        "strings": named(ids),
        "tuple of strings": tuple(named(ids)),
        "array of strings": np.array(named(ids)),
        "list of tensors": list(ids),
    }


@pytest.mark.parametrize("form", forms_of(torch.arange(3)))
def test_any_form(make_batch, form):
    batch = make_batch(20)
    expected = batch.feed(RetrievalMetrics()).compute()
    ids = {name: forms_of(getattr(batch, name))[form] for name in ("image_ids", "text_image_ids", "text_ids")}
    metrics = RetrievalMetrics()
    metrics.update(batch.image_embeds, batch.text_embeds, text_features=batch.text_features, **ids)
    for name, value in metrics.compute().items():  # digests order the gallery differently
        assert float(value) == pytest.approx(float(expected[name]), abs=1e-6), name


def test_strings_with_distractors():
    embeds = torch.eye(4)
    metric = RecallAtK()
    metric.update(embeds[:2], embeds[:2], ["a", "b"], ["a", -1])
    metric.update(embeds[2:3], embeds[2:], ["c"], [-1, -1])  # no string among them
    metric.update(embeds[3:], embeds[:0], ["d"], [])
    assert metric.per_query()["i2t"].tolist() == [1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((["a", "b"], [0, 1]), "image_ids and text_image_ids must be of one kind, got strings and integers"),
        (([0, 1], ["a", "b"]), "image_ids and text_image_ids must be of one kind, got strings and integers"),
        ((["a", -1], ["a", "b"]), "image_ids must not hold -1"),
        ((["a", 3], ["a", "b"]), "image_ids must be integers or strings, one a row, got a list of int, str"),
        ((np.arange(2.0), np.arange(2)), "image_ids must be integers or strings, one a row, got torch.float32"),
        (
            (torch.zeros(2, 2).long(), [0, 1]),
            r"image_ids must be integers or strings, one a row, got torch.int64 \(2, 2\)",
        ),
        (("ab", ["a", "b"]), "image_ids must be integers or strings, one a row, got str"),
    ],
)
def test_other_ids_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        RecallAtK().update(torch.eye(2), torch.eye(2), *ids)


def test_only_embeddings_and_ids_are_positional():
    embeds, ids = torch.eye(3), torch.arange(3)
    with pytest.raises(TypeError, match="positional"):
        RecallAtK().update(embeds, embeds, ids, ids, embeds)
    with pytest.raises(TypeError, match="text_id"):  # torchmetrics would have dropped it
        RetrievalMetrics().update(embeds, embeds, ids, ids, text_id=ids)


@pytest.mark.parametrize("make", [RecallAtK, RetrievalMetrics])
def test_ids_that_restart_in_every_batch(make_batch, make):
    batch = make_batch(20)
    metric = make()
    for images in torch.arange(20).split(10):
        embeds = batch.image_embeds[images]
        metric.update(embeds, embeds + 0.01, torch.arange(10), torch.arange(10))
    message = (
        r"image_ids: one id must mean one image, but 0 came with two different embeddings \(cosine -?0.\d+\), first as "
        r"the image no. 1 of all that update saw and then as no. 11. Do ids restart in every batch or data set\?"
    )
    with pytest.raises(ValueError, match=message):
        metric.compute()
    with pytest.raises(ValueError, match="image_ids: one id must mean one image"):
        metric["rsum"].compute() if make is RetrievalMetrics else metric.per_query()


def test_text_ids_that_restart_for_every_image(make_batch):
    batch = make_batch(10, captions=(2,))
    batch.text_ids = torch.arange(20) % 2
    metric = batch.feed(RecallAtK())
    with pytest.raises(
        ValueError, match="text_ids: one id must mean one text, but 0 came with two different embeddings"
    ):
        metric.compute()


def test_one_text_of_two_images():
    embeds = torch.eye(3)
    metric = RecallAtK()
    metric.update(embeds[:2], embeds[[2, 2]], [0, 1], [0, 1], text_ids=[7, 7])
    with pytest.raises(ValueError, match="text_ids: one id must mean one text of one image, but 7 came with two"):
        metric.compute()


@pytest.mark.parametrize("noise", [0, 0.01])
def test_rounding_is_no_difference(make_batch, noise):
    batch = make_batch(30)
    expected = batch.feed(MeanRank()).compute()
    again = make_batch(30)
    again.image_embeds = again.image_embeds + noise * torch.randn(30, 8)
    again.text_embeds = again.text_embeds.bfloat16()
    assert again.feed(batch.feed(MeanRank())).compute() == expected


def test_zero_embeddings_repeat():
    metric = RecallAtK()
    for _ in range(2):
        metric.update(torch.zeros(2, 3), torch.ones(2, 3), [0, 1], [0, 1], text_ids=[0, 1])
    assert metric.compute() == 0


def test_ground_truth_metrics_ask_too(tmp_path):
    path = tmp_path / "categories.json"
    path.write_text('{"0": [1], "1": [2]}')
    metric = PMRP(path)
    for embeds in (torch.eye(2), torch.eye(2).flip(0)):
        metric.update(embeds, embeds, [0, 1], [0, 1], text_ids=[0, 1])
    with pytest.raises(ValueError, match="image_ids: one id must mean one image"):
        metric.compute()
    metric.reset()
    metric.update(torch.eye(2), torch.eye(2), [0, 1], [0, 1])
    with pytest.raises(ValueError, match="PMRP needs text_ids in update, the sentid of COCO"):
        metric.compute()


def test_a_table_of_our_own_gets_digests():
    seen = []

    class Table:
        def block(self, image_ids, text_ids):
            seen.append((image_ids, text_ids))
            return torch.zeros(len(image_ids), len(text_ids))

    metric = RetrievalNDCG(relevance=Table())
    metric.update(torch.eye(2), torch.eye(2), ["a", "b"], ["a", "b"], text_ids=["x", "y"])
    metric.compute()
    assert all(ids.dtype == torch.int64 for block in seen for ids in block)
    metric = RetrievalNDCG(relevance=Table(), captions_per_image=1)
    metric.update(torch.eye(2), torch.eye(2), ["a", "b"], ["a", "b"], text_ids=["x", "y"])
    with pytest.raises(ValueError, match=r"captions_per_image=1: Table.block must take captions_per_image too"):
        metric.compute()


def test_rounding_of_a_table_is_clamped():
    class Table:
        def __init__(self, high):
            self.high = high

        def block(self, image_ids, text_ids):
            return torch.full((len(image_ids), len(text_ids)), self.high)

    for high, ids in ((1 + 5e-5, torch.arange(3)), (-5e-5, torch.arange(3))):
        metric = RetrievalNDCG(relevance=Table(high))
        metric.update(torch.eye(3), torch.eye(3), ids, ids, text_ids=ids)
        assert metric.compute() == 1
