"""From embeddings to numbers in one call, for people without a Trainer."""

from __future__ import annotations

import torch

from vse_lightning.checks import require
from vse_lightning.metrics.evaluation import evaluate_members
from vse_lightning.metrics.gallery import Gallery
from vse_lightning.metrics.members import Metrics, flatten, members_of, names_clash
from vse_lightning.metrics.missing_labels import refuse, warn_left_out
from vse_lightning.metrics.relevance import RelevanceMatrix
from vse_lightning.metrics.retrieval_metrics import RetrievalMetrics
from vse_lightning.metrics.score_matrices import Matrix, as_matrix
from vse_lightning.metrics.state import checked_batch
from vse_lightning.targets import Ids, LabelTable, RetrievalTargets


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
        The values by name: ``i2t_recall_at_1``, ``rsum`` and so on.

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
    images, texts = as_matrix("image_embeds", image_embeds), as_matrix("text_embeds", text_embeds)
    features = None if text_features is None else as_matrix("text_features", text_features)
    message = "without image_ids and text_image_ids, embeddings must be pairs, got {} images and {} texts"
    told = image_ids is not None or text_image_ids is not None
    require(told or len(images) == len(texts), message, len(images), len(texts))
    known = RetrievalTargets(image_ids, text_image_ids, text_ids=text_ids).resolve(images, texts)
    image_ids, text_image_ids = known.known_ids()
    text_ids = known.text_ids
    if relevance is not None and not isinstance(relevance, LabelTable):
        matrix, shape = as_matrix("relevance", relevance).to(images.device), (len(images), len(texts))
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
    if remedies:
        refuse(*next(iter(remedies.items()))) if not values else warn_left_out(remedies)
    return {name: float(value) for name, value in flatten(values, names_clash(members)).items()}
