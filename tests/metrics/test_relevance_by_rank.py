"""The curve of relevance by rank, and its plot."""

import numpy as np
import pytest

from vse_lightning.metrics import MissingRelevanceError, RetrievalMetrics

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")


def test_equal_loops(make_batch):
    batch = make_batch(40)
    images, texts = batch.image_ids.argsort(), batch.text_ids.argsort()
    curves = batch.feed(RetrievalMetrics()).relevance_by_rank(depth=7)
    batch = batch.select(images, texts)
    rows = {name: rows.double().numpy() for name, rows in vars(batch).items()}
    of_image = rows["image_embeds"] / np.linalg.norm(rows["image_embeds"], axis=1, keepdims=True)
    of_text = rows["text_embeds"] / np.linalg.norm(rows["text_embeds"], axis=1, keepdims=True)
    features = rows["text_features"] / np.linalg.norm(rows["text_features"], axis=1, keepdims=True)
    matches = rows["image_ids"][:, None] == rows["text_image_ids"]
    relevance = np.stack([(features[own] @ features.T).clip(0, 1).max(axis=0) for own in matches])
    relevance[matches] = 1
    scores = of_image @ of_text.T
    for direction, s, r in (("i2t", scores, relevance), ("t2i", scores.T, relevance.T)):
        retrieved = np.take_along_axis(r, np.argsort(-s, axis=1)[:, :7], axis=1).mean(axis=0)
        np.testing.assert_allclose(curves[direction].relevance, retrieved, atol=1e-6)
        np.testing.assert_allclose(curves[direction].ideal, -np.sort(-r, axis=1)[:, :7].mean(axis=0), atol=1e-6)


def test_plot_draws_both_curves_of_each_direction(make_batch):
    metrics = make_batch(40).feed(RetrievalMetrics(directions=("i2t", "t2i", "t2t")))
    figure, axes = metrics.plot(depth=20)
    assert len(axes) == len(figure.axes) == 3
    for ax, curve in zip(axes, metrics.relevance_by_rank(20).values(), strict=True):
        ideal, retrieved = (line.get_ydata() for line in ax.lines)
        np.testing.assert_allclose(retrieved, curve.relevance)
        np.testing.assert_allclose(ideal, curve.ideal)
    assert "text features" in axes[0].get_ylabel()
    mpl.pyplot.close(figure)


def test_plot_into_given_axes(make_batch):
    metrics = make_batch(10).feed(RetrievalMetrics())
    figure, axes = mpl.pyplot.subplots(1, 2)
    assert metrics.plot(axes=axes)[0] is figure
    with pytest.raises(ValueError, match="axes must be one for each of i2t, t2i, got 1"):
        metrics.plot(axes=axes[:1])
    mpl.pyplot.close(figure)


def test_no_curve_without_labels_or_depth(make_batch):
    batch = make_batch(10)
    batch.text_features = None
    metrics = batch.feed(RetrievalMetrics(ndcg_ks=(), coherent_ks=()))
    with pytest.raises(MissingRelevanceError, match="graded relevance"):
        metrics.relevance_by_rank()
    with pytest.raises(ValueError, match="depth must be a whole number of at least 1"):
        metrics.relevance_by_rank(depth=0)


def test_without_matplotlib(make_batch, monkeypatch):
    monkeypatch.setattr("vse_lightning.checks.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"plot needs matplotlib: pip install .vse-lightning\[plot\]"):
        make_batch(3).feed(RetrievalMetrics()).plot()
