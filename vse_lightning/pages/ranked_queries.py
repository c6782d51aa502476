"""What every query of an evaluation retrieved, ranked in one streaming pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vse_lightning.functional._kendall_tau import coherent_score_of_ranking
from vse_lightning.functional.directions import ACROSS, Direction
from vse_lightning.functional.ndcg import ndcg_of_ranking
from vse_lightning.functional.ranking import Ranking
from vse_lightning.functional.similarity import Similarity
from vse_lightning.pages.ranked_run import RankedQueries
from vse_lightning.ranking.gallery import Gallery
from vse_lightning.ranking.query_values import query_values
from vse_lightning.ranking.reading import EvaluationProtocol, Reading
from vse_lightning.targets import LabelTable, label_of


def rank_queries(
    gallery: Gallery,
    relevance: LabelTable | None,
    *,
    similarity: Similarity | None = None,
    protocol: EvaluationProtocol | None = None,
    gain: str = "exponential",
    top_k: int = 10,
    depth: int = 100,
) -> tuple[dict[Direction, RankedQueries], str]:
    """Rank the whole gallery for every query, block by block, as the metrics do but without folds.

    Without labels, those of the caption features in the gallery count, else (or where an image has no text) matches.
    The ``top_k`` candidates of each query are kept; curves and tau take in ``depth`` ranks.

    Returns:
        The queries of both directions, on the CPU, and the name of the labels.
    """
    protocol = protocol or EvaluationProtocol()
    if protocol.captions_per_image is not None:
        gallery = gallery.first_captions(protocol.captions_per_image)
    if gallery.text_ids is None:
        raise ValueError("a gallery needs text_ids, to show captions: return them from targets(batch)")
    if relevance is None and (gallery.text_features is None or len(gallery.lonely_images()) > 0):
        relevance = OnlyMatches()
    reading = Reading(positives=1, listed=max(top_k, depth), ideal=max(top_k, depth))
    columns: dict[str, Callable[[Ranking], Tensor]] = {
        "candidates": lambda ranking: ranking.candidates[:, :top_k],
        "scores": lambda ranking: ranking.scores[:, :top_k],
        "relevance": lambda ranking: ranking.relevance[:, :top_k],
        "best_ranks": lambda ranking: ranking.positive_ranks[:, 0].long(),
        "ndcg": lambda ranking: ndcg_of_ranking(ranking, top_k, gain),
        "tau": lambda ranking: coherent_score_of_ranking(ranking, depth),
        "curve": lambda ranking: ranking.relevance[:, :depth],
        "ideal": lambda ranking: ranking.ideal[:, :depth],
    }
    readers = {name: _Column(read, reading, protocol) for name, read in columns.items()}
    values = query_values(gallery, readers, relevance=relevance, similarity=similarity, as_one_fold=True)
    ids = {"i2t": (gallery.image_ids, gallery.image_ids), "t2i": (gallery.text_ids, gallery.text_image_ids)}
    ranked = {}
    for direction, other in zip(ACROSS, reversed(ACROSS), strict=True):
        rows = gallery.query_rows(direction)
        column = {name: folds[0][direction] for name, folds in values.items()}
        candidates, images = column.pop("candidates"), ids[direction][1][rows]
        described = RankedQueries(
            query_ids=ids[direction][0][rows],
            query_image_ids=images,
            candidate_ids=ids[other][0][candidates],
            positives=ids[other][1][candidates] == images[:, None],
            **{**column, "curve": column["curve"].mean(dim=0), "ideal": column["ideal"].mean(dim=0)},
        )
        ranked[direction] = RankedQueries(**{name: values.cpu() for name, values in vars(described).items()})
    return ranked, label_of(relevance)


class OnlyMatches:
    """Nothing but the matches is relevant; the ranking adds those itself."""

    label = "no labels: 1 for a match, 0 for all others"

    def block(self, image_ids: Tensor, text_ids: Tensor, captions_per_image: int | None = None) -> Tensor:
        """Zeros ``(N, M)``, whatever ``captions_per_image``."""
        return torch.zeros(len(image_ids), len(text_ids), device=image_ids.device)


@dataclass
class _Column:
    """Something read of each query's ranking."""

    query_values: Callable[[Ranking], Tensor]
    reading: Reading
    protocol: EvaluationProtocol
    directions: tuple[Direction, ...] = ACROSS
    similarity: Similarity | None = None
    relevance: LabelTable | None = None
