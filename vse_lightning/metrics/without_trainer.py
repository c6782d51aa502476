"""From embeddings or scores to numbers in one call, for people without a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.functional.query_lists import as_positives, as_scores
from vse_lightning.metrics._embedding_lists import checked_batch
from vse_lightning.metrics._members import Metrics, flatten, members_of, names_of
from vse_lightning.metrics._values import evaluate_members, refuse, summary, warn_left_out
from vse_lightning.metrics.base import RetrievalMetric
from vse_lightning.metrics.collection import RetrievalMetrics
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.query_values import query_values_of_matrices
from vse_lightning.ranking.relevance_blocks import RelevanceMatrix
from vse_lightning.targets import Ids, LabelTable, RetrievalTargets

Matrix: TypeAlias = "Tensor | np.ndarray[Any, Any]"

_ASKING = {"i2t": "an image", "t2i": "a text"}
_MATCHED = dict.fromkeys(_ASKING, "positives that mark a match")
_NO_LABELS = "give relevance, a matrix as large as scores"


def evaluate_embeddings(
    image_embeds: Matrix,
    text_embeds: Matrix,
    *,
    image_ids: Ids | None = None,
    text_image_ids: Ids | None = None,
    text_ids: Ids | None = None,
    text_features: Matrix | None = None,
    relevance: LabelTable | Matrix | None = None,
    metrics: Metrics | None = None,
) -> dict[str, float]:
    """Measure a whole gallery at once, wherever its embeddings come from and on whatever device they are.

    Args:
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        image_ids: ``(N,)`` integers or strings; without ids, the first text describes the first image, and so on.
        text_image_ids: ``(M,)`` the id of the image that each text describes, -1 for none.
        text_ids: ``(M,)`` integers or strings, needed by a table; texts with an id seen before are dropped.
        text_features: ``(M, F)`` sentence embeddings that grade texts against images.
        relevance: ``(N, M)`` in [0, 1], or a :class:`~vse_lightning.relevance.RelevanceTable`, for metrics that have no
            labels of their own.
        metrics: a :class:`RetrievalMetrics`, a ``MetricCollection``, metrics by name or a list of them, whose state is
            neither read nor written; default: the standard protocol, its graded part only with ``text_features`` or
            ``relevance``.

    Returns:
        The values by name, ``i2t_recall_at_1``, ``rsum`` and so on.

    Raises:
        MissingRelevanceError: if all metrics need relevance and there is none.
        TypeError: if one of the ``metrics`` is not of this package.
        ValueError: if shapes, ids or ranges are wrong, or there is nothing to evaluate.

    Example:
        >>> import torch
        >>> from vse_lightning.metrics import RecallAtK, RSum
        >>> evaluate_embeddings(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]], metrics=[RecallAtK(1), RSum((1, 2))])
        {'i2t_recall_at_1': 0.5, 'rsum': 200.0}
    """
    images, texts = _tensor("image_embeds", image_embeds), _tensor("text_embeds", text_embeds)
    features = None if text_features is None else _tensor("text_features", text_features)
    message = "without image_ids and text_image_ids, embeddings must be pairs, got {} images and {} texts"
    told = image_ids is not None or text_image_ids is not None
    require(told or len(images) == len(texts), message, len(images), len(texts))
    known = RetrievalTargets(image_ids, text_image_ids, text_ids=text_ids).resolve(images, texts)
    image_ids, text_image_ids = known.known_ids()
    text_ids = known.text_ids
    if relevance is not None and not isinstance(relevance, LabelTable):
        matrix, shape = _tensor("relevance", relevance).to(images.device), (len(images), len(texts))
        message = "relevance must be {} images x texts, or a table with a method block(image_ids, text_ids), got {}"
        require(matrix.shape == shape, message, shape, tuple(matrix.shape))
        text_ids = torch.arange(len(texts), device=images.device) if text_ids is None else text_ids
        relevance = RelevanceMatrix(matrix, image_ids, text_ids)
    if metrics is None:
        graded = relevance is not None or features is not None
        metrics = RetrievalMetrics() if graded else RetrievalMetrics(ndcg_ks=(), coherent_ks=())
    members = members_of(metrics)
    state = checked_batch(images, texts, image_ids, text_image_ids, features, text_ids)
    values, remedies = evaluate_members(members, Gallery.from_state(state), relevance=relevance)
    _tell_of(remedies, bool(values))
    return {name: float(value) for name, value in flatten(values, names_of(members)).items()}


def evaluate_scores(
    metrics: Metrics,
    scores: Matrix,
    relevance: Matrix | None = None,
    positives: Matrix | None = None,
) -> dict[str, Tensor]:
    """Compute ``metrics`` from given matrices instead of embeddings.

    The options of the metrics (similarity, folds, ...) do not apply. A text may match several images, and an image
    several texts. Metrics that count matches leave out queries without any; graded ones count every query, as the
    matrix knows its relevance.

    Args:
        metrics: a :class:`RetrievalMetrics`, a ``MetricCollection``, metrics by name or a list of them; without
            ``relevance`` graded ones are left out, with a warning.
        scores: ``(N, M)`` of N images and M texts, higher is closer.
        relevance: ``(N, M)`` in [0, 1]; positives count 1.
        positives: ``(N, M)`` bool; default: the diagonal of a square matrix.

    Returns:
        A scalar per metric.

    Raises:
        MissingRelevanceError: if all metrics need relevance and there is none.
        TypeError: if one of the metrics is not of this package.
        ValueError: if shapes or ranges are wrong, a score is NaN, or a metric has no query.
    """
    members: dict[str, RetrievalMetric] = {}
    for name, metric in members_of(metrics).items():
        ranks = isinstance(metric, RetrievalMetric)
        require(ranks, "{}: {} needs ids, which scores do not have", name, type(metric).__name__)
        members[name] = cast("RetrievalMetric", metric)
    scores = as_scores(_tensor("scores", scores))
    require(len(scores) > 0, "scores must be of at least one image, got {}", tuple(scores.shape))
    if positives is None:
        square = scores.shape[0] == scores.shape[1]
        require(square, "positives must be given unless scores are square, got scores {}", tuple(scores.shape))
        positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    positives = as_positives(_tensor("positives", positives), scores)
    if relevance is None:
        remedies = {name: _NO_LABELS for name, metric in members.items() if metric.graded}
        members = {name: metric for name, metric in members.items() if name not in remedies}
        _tell_of(remedies, bool(members))
    else:
        relevance = _tensor("relevance", relevance)
        same, shapes = relevance.shape == scores.shape, (tuple(scores.shape), tuple(relevance.shape))
        require(same, "relevance must have the shape of scores {}, got {}", *shapes)
    values = query_values_of_matrices(members, scores, relevance, positives)
    needed = {name: _MATCHED if metric.reading.positives else _ASKING for name, metric in members.items()}
    return {name: summary(of, [values[name]], needed[name]).to(scores.dtype) for name, of in members.items()}


def _tensor(name: str, matrix: Any) -> Tensor:
    try:
        matrix = np.asarray(matrix) if hasattr(matrix, "__array__") and not isinstance(matrix, Tensor) else matrix
        tensor = torch.as_tensor(matrix).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor or an array, got {type(matrix).__name__}: {error}") from None
    require(tensor.ndim > 0, "{} must be a tensor or an array, got the single number {}", name, matrix)
    return tensor


def _tell_of(remedies: Mapping[str, str], computed: bool) -> None:
    """Warn of what is left out, or refuse where nothing else is ``computed``."""
    if remedies and not computed:
        refuse(", ".join(remedies), next(iter(remedies.values())))
    if remedies:
        warn_left_out(remedies)
