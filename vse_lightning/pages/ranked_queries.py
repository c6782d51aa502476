"""What every query of an evaluation retrieved, ranked in one streaming pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vse_lightning.distributed import Processes
from vse_lightning.functional.coherent_score import coherent_score_of_ranking
from vse_lightning.functional.directions import Direction
from vse_lightning.functional.ndcg import ndcg_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import cosine_similarity
from vse_lightning.metrics import RetrievalMetric, RetrievalMetrics, RetrievalNDCG
from vse_lightning.ranking.across import rank_across
from vse_lightning.ranking.exact_arithmetic import exact_arithmetic
from vse_lightning.ranking.gallery import Gallery, State
from vse_lightning.ranking.pair_scores import PairScores, Similarity
from vse_lightning.ranking.reading import EvaluationProtocol, Reading
from vse_lightning.ranking.relevance_rows import RelevanceRows, relevance_rows
from vse_lightning.targets import LabelTable, label_of

ONLY_MATCHES = "no labels: 1 for a match, 0 for all others"


@dataclass(frozen=True)
class RankedQueries:
    """The best candidates of the ``Q`` queries of one direction, and how good they are.

    Attributes:
        query_ids: ``(Q,)`` int64, ids of images or of texts, ascending.
        query_image_ids: ``(Q,)`` int64, the image that a query is, or describes.
        candidate_ids: ``(Q, K)`` int64, the best-scored first.
        scores: ``(Q, K)``.
        relevance: ``(Q, K)`` in [0, 1].
        positives: ``(Q, K)`` bool.
        best_ranks: ``(Q,)`` int64, from 1, of each query's best positive.
        ndcg: ``(Q,)`` NDCG of the K candidates.
        tau: ``(Q,)`` Kendall's tau-b between scores and relevance of the first R candidates.
        curve: ``(R,)`` mean relevance at each rank.
        ideal: ``(R,)`` the same of a perfect ranking.
    """

    query_ids: Tensor
    query_image_ids: Tensor
    candidate_ids: Tensor
    scores: Tensor
    relevance: Tensor
    positives: Tensor
    best_ranks: Tensor
    ndcg: Tensor
    tau: Tensor
    curve: Tensor
    ideal: Tensor


def rank_queries(
    state: State,
    metrics: RetrievalMetrics,
    relevance: LabelTable | None,
    similarity: Similarity | None,
    top_k: int,
    depth: int,
) -> tuple[dict[Direction, RankedQueries], str]:
    """Rank the whole gallery for every query, block by block, as the metrics do but without folds.

    Args:
        state: of the metrics, from all processes.
        metrics: whose protocol and gain are used.
        relevance: labels; default: those of the caption features in the state, else (or where an image has no text)
            matches count 1.
        similarity: default: the cosine.
        top_k: K, how many candidates of each query to keep.
        depth: R, how many ranks the curves and tau take in.

    Returns:
        The queries of both directions, on the CPU, and the name of the labels.

    Raises:
        ValueError: if the state holds nothing or has no text ids.
    """
    protocol = protocol_of(metrics)
    gains = [member.gain for member in metrics.values(copy_state=False) if isinstance(member, RetrievalNDCG)]
    gain = gains[0] if gains else "exponential"
    gallery = Gallery.from_state(state)
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    if gallery.text_ids is None:
        raise ValueError("a gallery needs text_ids, to show captions: return them from targets(batch)")
    ungraded = relevance is None and len(gallery.lonely_images()) > 0
    labels = None if ungraded else relevance_rows(gallery, relevance, protocol.captions_per_image)
    label = ONLY_MATCHES if labels is None else label_of(relevance)
    reading = Reading(positives=1, listed=max(top_k, depth), ideal=max(top_k, depth))
    with exact_arithmetic(gallery.image_embeds.device):
        rows_per_block = protocol.rows_per_block(len(gallery.text_embeds))
        pair_scores = PairScores(
            similarity or cosine_similarity, gallery.image_embeds, gallery.text_embeds, rows_per_block
        )
        readings: dict[Direction, Reading] = {"i2t": reading, "t2i": reading}
        rankings = rank_across(gallery, pair_scores, labels or _no_relevance(gallery), readings, Processes())
    images = gallery.image_ids, gallery.image_ids
    texts = gallery.text_ids, gallery.text_image_ids
    asking = {direction: gallery.query_rows(direction) for direction in readings}
    queries = images[0][asking["i2t"]], images[1][asking["i2t"]]
    captions = texts[0][asking["t2i"]], texts[1][asking["t2i"]]
    return {
        "i2t": _describe(rankings["i2t"], queries, texts, top_k, depth, gain),
        "t2i": _describe(rankings["t2i"], captions, images, top_k, depth, gain),
    }, label


def protocol_of(metrics: RetrievalMetrics) -> EvaluationProtocol:
    """What all metrics of the collection agree on."""
    members = metrics.values(copy_state=False)
    return next(member.protocol for member in members if isinstance(member, RetrievalMetric))


def _describe(
    ranking: Ranking,
    queries: tuple[Tensor, Tensor],
    candidates: tuple[Tensor, Tensor],
    top_k: int,
    depth: int,
    gain: str,
) -> RankedQueries:
    """Name queries and candidates, each given as its ids and those of its images, and score the lists."""
    listed = ranking.candidates[:, :top_k]
    described = RankedQueries(
        query_ids=queries[0],
        query_image_ids=queries[1],
        candidate_ids=candidates[0][listed],
        scores=ranking.scores[:, :top_k],
        relevance=ranking.relevance[:, :top_k],
        positives=candidates[1][listed] == queries[1][:, None],
        best_ranks=ranking.positive_ranks[:, 0].long(),
        ndcg=ndcg_of_ranking(ranking, top_k, gain),
        tau=coherent_score_of_ranking(ranking, depth),
        curve=ranking.relevance[:, :depth].mean(dim=0),
        ideal=ranking.ideal[:, :depth].mean(dim=0),
    )
    return RankedQueries(**{name: column.cpu() for name, column in vars(described).items()})


def _no_relevance(gallery: Gallery) -> RelevanceRows:
    """Nothing but the matches is relevant; the ranking adds those itself."""
    embeds = gallery.image_embeds
    return lambda rows: embeds.new_zeros(len(rows), len(gallery.text_embeds), dtype=torch.float32)
