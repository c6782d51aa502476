"""Random galleries, and every metric as a loop over queries."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from vse_lightning.metrics import RetrievalMetrics


@dataclass
class Batch:
    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    image_ids: torch.Tensor
    text_image_ids: torch.Tensor
    text_features: torch.Tensor | None = None
    text_ids: torch.Tensor | None = None

    def feed(self, metric, batch_size=None):
        """Update ``metric`` with everything at once or with some images at a time."""
        for images in torch.arange(len(self.image_ids)).split(batch_size or len(self.image_ids)):
            texts = torch.isin(self.text_image_ids, self.image_ids[images]).nonzero()[:, 0]
            metric.update(**vars(self.select(images, texts)))
        return metric

    def select(self, images, texts):
        of_texts = {name: rows for name, rows in vars(self).items() if name.startswith("text")}
        given = {name: rows[texts] for name, rows in of_texts.items() if rows is not None}
        return replace(self, image_embeds=self.image_embeds[images], image_ids=self.image_ids[images], **given)


@pytest.fixture
def make_batch():
    def make(
        num_images=23, captions=(2, 5, 1), width=8, features=6, seed=0, distinct=None, dtype=torch.float32, first_id=100
    ):
        """Uneven captions, ids out of order, embeddings that are related but mostly wrong, cosines of both signs."""
        generator = torch.Generator().manual_seed(seed)
        image_ids = torch.randperm(10 * num_images, generator=generator)[:num_images] + first_id
        counts = torch.tensor([captions[i % len(captions)] for i in range(num_images)])
        images = torch.randn(num_images, width, generator=generator)
        image_of_text = torch.arange(num_images).repeat_interleave(counts)
        texts = images[image_of_text] + 1.5 * torch.randn(len(image_of_text), width, generator=generator)
        order = torch.randperm(len(texts), generator=generator)
        topics = torch.randn(num_images, features, generator=generator)[image_of_text]
        text_features = topics + 0.5 * torch.randn(len(texts), features, generator=generator)
        if distinct is not None:
            images = images[torch.randint(distinct, (num_images,), generator=generator)]
            texts = texts[torch.randint(distinct, (len(texts),), generator=generator)]
        return Batch(
            images.to(dtype),
            texts[order].to(dtype),
            image_ids,
            image_ids[image_of_text][order],
            text_features[order],
            torch.randperm(len(texts), generator=generator) + first_id,
        )

    return make


@pytest.fixture
def reference():
    """All metrics by loops, from the rows of a gallery in the order of their ids."""
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score

    def scores_of(batch):
        images = batch.image_embeds.double() / batch.image_embeds.double().norm(dim=1, keepdim=True).clamp(min=1e-12)
        texts = batch.text_embeds.double() / batch.text_embeds.double().norm(dim=1, keepdim=True).clamp(min=1e-12)
        # A float32 metric sees ties that float64 would break.
        return (images @ texts.T).round(decimals=12).numpy()

    def relevance_of(batch):
        features = batch.text_features.double() / batch.text_features.double().norm(dim=1, keepdim=True)
        cosines = (features @ features.T).clamp(0, 1).numpy()
        rows = [cosines[(batch.text_image_ids == image).numpy()].max(axis=0) for image in batch.image_ids]
        relevance = np.stack(rows)
        relevance[positives_of(batch)] = 1
        return relevance.round(12)

    def positives_of(batch):
        return (batch.image_ids[:, None] == batch.text_image_ids[None, :]).numpy()

    def direction_values(prefix, scores, positives, relevance, ks, ndcg_k, coherent_k, gain):
        ranks, ndcgs, taus = [], [], []
        for s, p, r in zip(scores, positives, relevance, strict=True):
            if not p.any():
                continue  # a candidate that is no query
            ranks.append(1 + int(((s >= s[p].max()) & ~p).sum()))
            gains = r if gain == "linear" else 2**r - 1
            ndcgs.append(ndcg_score([gains], [s], k=ndcg_k) if len(s) > 1 else 1)
            best = np.argsort(-s, kind="stable")[:coherent_k]
            with np.errstate(invalid="ignore"):
                taus.append(np.nan_to_num(kendalltau(s[best], r[best]).statistic) if len(s) > 1 else 0)
        ranks = np.array(ranks)
        values = {f"{prefix}_recall_at_{k}": (ranks <= k).mean() for k in ks}
        values[f"{prefix}_median_rank"] = np.median(ranks)
        values[f"{prefix}_mean_rank"] = ranks.mean()
        values[f"{prefix}_ndcg_at_{ndcg_k}"] = np.mean(ndcgs)
        values[f"{prefix}_coherent_score_at_{coherent_k}"] = np.mean(taus)
        return values

    def compute(batch, ks=(1, 5, 10), ndcg_k=10, coherent_k=100, gain="exponential", scores=None, relevance=None):
        images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
        batch = batch.select(images, texts)
        scores = scores_of(batch) if scores is None else scores
        relevance = relevance_of(batch) if relevance is None else relevance
        positives = positives_of(batch)
        options = (ks, ndcg_k, coherent_k, gain)
        values = direction_values("i2t", scores, positives, relevance, *options)
        values |= direction_values("t2i", scores.T, positives.T, relevance.T, *options)
        values["rsum"] = 100 * sum(value for name, value in values.items() if "recall" in name)
        return values

    return compute


@pytest.fixture
def assert_equal():
    def check(values, expected, tolerance=2e-6):
        assert values.keys() == expected.keys()
        for name, value in values.items():
            assert float(value) == pytest.approx(float(expected[name]), abs=tolerance, rel=1e-6), name

    return check


@pytest.fixture
def full_protocol():
    def make(**options):
        return RetrievalMetrics(rank_statistics=True, **options)

    return make


@pytest.fixture
def ground_truth(tmp_path):
    """A benchmark of the images 10 to 12 and the texts 100 to 103; text 999 matches, but is not in the gallery."""
    files = {
        "eccv_image_to_caption": {10: [103, 100, 999]},
        "eccv_caption_to_image": {101: [11, 12], 103: [12]},
        "cxc_image_to_caption": {10: [100, 101], 11: [102], 12: [103]},
        "cxc_caption_to_image": {100: [10], 101: [10, 12], 102: [11], 103: [12]},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    np.save(tmp_path / "coco_test_ids.npy", np.arange(100, 104))
    return tmp_path
