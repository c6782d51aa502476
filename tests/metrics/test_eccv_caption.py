import json
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from vse_lightning.metrics import ECCVCaption, MeanRank

IMAGES, TEXTS = torch.tensor([10, 11, 12]), torch.tensor([100, 101, 102, 103])
OF_TEXT = torch.tensor([10, 10, 11, 12])
SCORES = torch.tensor([[0.4, 0.3, 0.2, 0.9], [0.8, 0.6, 0.7, 0.5], [0.1, 0.2, 0.3, 0.3]])
"""Of images 10 to 12 with texts 100 to 103."""


def _look_up(images, texts):
    return SCORES[images[:, 0].long()][:, texts[:, 0].long()]


def _numbered(count):
    return torch.arange(count, dtype=torch.float32)[:, None]


def _seen(metric):
    metric.update(_numbered(3), _numbered(4), IMAGES, OF_TEXT, text_ids=TEXTS)
    return metric


def test_values_by_hand(ground_truth):
    values = _seen(ECCVCaption((1, 2), ground_truth, similarity=_look_up)).compute()
    assert {name: float(value) for name, value in values.items()} == pytest.approx(
        {
            "i2t_eccv_map_at_r": (1 + 1) / 3,  # 103 and 100 come first; 999 counts although it cannot be found
            "i2t_eccv_r_precision": 2 / 3,
            "i2t_eccv_recall_at_1": 1,
            "i2t_cxc_recall_at_1": 0,  # image 12: 103 ties with 102, which never helps
            "i2t_cxc_recall_at_2": 3 / 3,
            "t2i_eccv_map_at_r": (1 / 2 + 0) / 2,
            "t2i_eccv_r_precision": (1 / 2 + 0) / 2,
            "t2i_eccv_recall_at_1": 1 / 2,
            "t2i_cxc_recall_at_1": 1 / 4,
            "t2i_cxc_recall_at_2": 3 / 4,
        }
    )


def test_values_of_queries(ground_truth):
    per_query = _seen(ECCVCaption((1,), ground_truth, similarity=_look_up)).per_query()
    ids, values = per_query["t2i_eccv_recall_at_1"]
    assert (ids.tolist(), values.tolist()) == ([101, 103], [1, 0])


def test_only_the_gallery_of_the_benchmark_counts(ground_truth):
    metric = ECCVCaption(
        ground_truth=ground_truth, similarity=lambda i, t: SCORES.T[t[:, 0].long()][:, i[:, 0].long()].T
    )
    expected = _seen(metric).compute()
    metric.reset()
    order = torch.tensor([3, 0, 2, 1, 0])  # shuffled, and a sixth caption and an image that the benchmark lacks
    extra = torch.tensor([103, 100, 102, 101, 555])
    metric.update(_numbered(3), _numbered(4)[order], IMAGES, torch.tensor([12, 10, 11, 10, 10]), text_ids=extra)
    metric.update(_numbered(1), _numbered(1), torch.tensor([77]), torch.tensor([77]), text_ids=torch.tensor([777]))
    assert metric.compute() == expected


def test_what_was_not_seen_is_named(ground_truth):
    metric = ECCVCaption(ground_truth=ground_truth)
    metric.update(_numbered(2), _numbered(3), IMAGES[:2], OF_TEXT[:3], text_ids=TEXTS[:3])
    with pytest.raises(ValueError, match="of all the 3 images of the benchmark: update never saw 1 of them, such as"):
        metric.compute()
    metric.reset()
    metric.update(_numbered(3), _numbered(3), IMAGES, OF_TEXT[:3], text_ids=TEXTS[:3])
    with pytest.raises(ValueError, match=r"text_ids must be COCO ids.* such as \[103\]"):
        metric.compute()


def test_states_of_processes_are_joined(ground_truth):
    expected = _seen(ECCVCaption(ground_truth=ground_truth, similarity=_look_up)).compute()
    mine = ECCVCaption(ground_truth=ground_truth, similarity=_look_up)
    mine.update(_numbered(3)[:1], _numbered(4)[:2], IMAGES[:1], OF_TEXT[:2], text_ids=TEXTS[:2])
    of_the_other = iter([_numbered(3)[1:], _numbered(4)[2:], IMAGES[1:], OF_TEXT[2:], TEXTS[2:]])

    def all_gather(tensor, group=None):
        describes_what_is_held = tensor.ndim == 2 and tensor.dtype == torch.int64
        return [tensor, tensor if describes_what_is_held else next(of_the_other)]

    mine.dist_sync_fn = all_gather
    mine.distributed_available_fn = lambda: True
    assert mine.compute() == expected


def test_beside_other_metrics(ground_truth):
    collection = MetricCollection(
        {"extended": ECCVCaption((1,), ground_truth, _look_up), "rank": MeanRank(similarity=_look_up)}
    )
    seen = {"image_ids": IMAGES, "text_image_ids": OF_TEXT, "text_ids": TEXTS}
    collection.update(image_embeds=_numbered(3), text_embeds=_numbered(4), **seen)
    assert {"i2t_eccv_map_at_r", "t2i_cxc_recall_at_1", "rank"} < collection.compute().keys()


def test_copies(ground_truth):
    metric = _seen(ECCVCaption(ground_truth=ground_truth, similarity=_look_up))
    assert deepcopy(metric).compute() == pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def test_wrong_ground_truth(ground_truth, monkeypatch):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        ECCVCaption((0,), ground_truth)
    (ground_truth / "cxc_image_to_caption.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"cxc_image_to_caption.json must be a JSON object, query id -> list"):
        ECCVCaption(ground_truth=ground_truth)
    with pytest.raises(FileNotFoundError, match="eccv_image_to_caption"):
        ECCVCaption(ground_truth=ground_truth / "none")
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'needs eccv-caption: pip install "vse-lightning\[eccv\]"'):
        ECCVCaption()


@pytest.fixture(scope="module")
def coco(real_data):
    """Embeddings that are related but mostly wrong, without ties, and what the best of each query are."""
    folder = real_data / "coco5k"
    images = json.loads((folder / "captions_karpathy_test.json").read_text())["images"]
    image_ids = torch.tensor([image["cocoid"] for image in images])
    text_ids = torch.tensor([sentence["sentid"] for image in images for sentence in image["sentences"]])
    generator = torch.Generator().manual_seed(0)
    image_embeds = torch.randn(5000, 12, generator=generator)
    text_embeds = image_embeds.repeat_interleave(5, 0) + torch.randn(25_000, 12, generator=generator)
    metric = ECCVCaption(ground_truth=folder / "eccv_caption")
    metric.update(image_embeds, text_embeds, image_ids, image_ids.repeat_interleave(5), text_ids=text_ids)
    scores = torch.nn.functional.normalize(image_embeds, dim=1) @ torch.nn.functional.normalize(text_embeds, dim=1).T
    i2t, t2i = text_ids[scores.topk(50).indices], image_ids[scores.T.contiguous().topk(50).indices]
    best = {
        "i2t": dict(zip(image_ids.tolist(), i2t.tolist(), strict=True)),
        "t2i": dict(zip(text_ids.tolist(), t2i.tolist(), strict=True)),
    }
    return folder / "eccv_caption", metric.compute(), best


def test_coco_equals_a_loop_over_the_definitions(coco):
    folder, values, best = coco
    for direction, file in (("i2t", "image_to_caption"), ("t2i", "caption_to_image")):
        precisions, average = [], []
        for query, matches in json.loads((folder / f"eccv_{file}.json").read_text()).items():
            hits = np.isin(best[direction][int(query)][: len(matches)], matches)
            precisions.append(hits.mean())
            average.append((hits * hits.cumsum() / np.arange(1, len(hits) + 1)).mean())
        assert float(values[f"{direction}_eccv_map_at_r"]) == pytest.approx(np.mean(average), rel=1e-6)
        assert float(values[f"{direction}_eccv_r_precision"]) == pytest.approx(np.mean(precisions), rel=1e-6)
        found = [
            set(best[direction][int(query)][:5]) & set(matches)
            for query, matches in json.loads((folder / f"cxc_{file}.json").read_text()).items()
        ]
        assert float(values[f"{direction}_cxc_recall_at_5"]) == pytest.approx(np.mean([bool(hits) for hits in found]))


def test_the_package_serves_as_ground_truth(coco):
    pytest.importorskip("eccv_caption")
    assert ECCVCaption()._matches == ECCVCaption(ground_truth=coco[0])._matches
