"""Every loss of the package, its equation written down with broadcasting, and the nearest of other libraries.

The plain formulations are of one direction and for one caption per image. For a loss that compares all pairs of a list
that is a table of (queries, candidates, candidates).
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vse_lightning import losses

Plain = Callable[[Tensor, Tensor], Tensor]
FromEmbeddings = Callable[[Tensor, Tensor], Tensor]


def matches(scores: Tensor) -> Tensor:
    """The positives of pairs."""
    return torch.eye(len(scores), dtype=torch.bool, device=scores.device)


def gaps(scores: Tensor, margin: float | Tensor = 0.2) -> Tensor:
    """By how much each negative comes too near the positive; minus infinity for the positive itself."""
    return (margin + scores - scores.diag()[:, None]).masked_fill(matches(scores), -torch.inf)


def hardest(scores: Tensor, margin: float | Tensor = 0.2) -> Tensor:
    return gaps(scores, margin).clamp(min=0).amax(1).mean()


def every(scores: Tensor, margin: float | Tensor = 0.2) -> Tensor:
    return gaps(scores, margin).clamp(min=0).sum(1).mean() / (len(scores) - 1)


def soft(scores: Tensor, relevance: Tensor) -> Tensor:
    return (0.01 * torch.logsumexp(gaps(scores) / 0.01, 1)).clamp(min=0).mean()


def selective(scores: Tensor, relevance: Tensor) -> Tensor:
    hinges = gaps(scores).clamp(min=0)
    near = gaps(scores, 0).amax(1).abs() < 0.01
    return torch.where(near, hinges.sum(1) / (len(scores) - 1), hinges.amax(1)).mean()


def ladder(scores: Tensor, relevance: Tensor) -> Tensor:
    above = relevance >= 0.63
    lowest, highest = scores.masked_fill(~above, torch.inf).amin(1), scores.masked_fill(above, -torch.inf).amax(1)
    return hardest(scores) + 0.25 * (0.01 - lowest + highest).clamp(min=0).mean()


def multi_similarity(scores: Tensor, relevance: Tensor) -> Tensor:
    distance = 1 - relevance
    gap = gaps(scores, 0.6 * distance)
    costs = torch.where(distance > 0.005, gap.clamp(min=0), (gap.abs() - 0.1).clamp(min=0))
    return costs.masked_fill(matches(scores), 0).sum(1).mean() / (len(scores) - 1)


def kendall(scores: Tensor, relevance: Tensor) -> Tensor:
    ordered = relevance[:, :, None] - relevance[:, None, :] > 0.3
    discord = (scores[:, None, :] - scores[:, :, None]).clamp(min=0)
    return (discord * ordered).sum() / ordered.sum()


def windows(scores: Tensor, relevance: Tensor) -> Tensor:
    order = relevance.argsort(dim=1, descending=True)
    of_scores, labels = scores.gather(1, order).unfold(1, 8, 1), relevance.gather(1, order).unfold(1, 8, 1)
    apart = labels[:, :-8].amin(2) - labels[:, 8:].amax(2) > 0.3
    discord = (of_scores[:, 8:].amax(2) - of_scores[:, :-8].amin(2)).clamp(min=0)
    return (discord * apart).sum() / apart.sum().clamp(min=1)


def info_nce(scores: Tensor, relevance: Tensor) -> Tensor:
    return cross_entropy(20 * scores, torch.arange(len(scores), device=scores.device))


def soft_info_nce(scores: Tensor, relevance: Tensor) -> Tensor:
    return cross_entropy(20 * scores, torch.softmax(relevance / 0.1, 1))


def ranked_contrastive(scores: Tensor, relevance: Tensor) -> Tensor:
    exponentials, own = (20 * scores).exp(), matches(scores)
    first = -(exponentials.diag() / exponentials.sum(1)).log()
    exponentials, level = (10 * scores).exp() * ~own, (relevance >= 0.63) & ~own
    second = -((exponentials * level).sum(1) / exponentials.sum(1)).log()
    return torch.where(level.any(1), (first + second) / 2, first).mean()


def sigmoid(scores: Tensor, relevance: Tensor) -> Tensor:
    answers = matches(scores).to(scores.dtype)
    return binary_cross_entropy_with_logits(10 * scores - 10, answers, reduction="sum") / len(scores)


def ranks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """How far each candidate stands above each, as sigmoids, and what they add up to."""
    above = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / 0.01) * ~matches(scores)
    return above, 1 + above.sum(2)


def ndcg(of_ranks: Tensor, relevance: Tensor) -> Tensor:
    gains = 2**relevance - 1
    discounts = torch.log2(torch.arange(gains.shape[1], device=gains.device) + 2.0)
    ideal = (gains.sort(1, descending=True).values / discounts).sum(1)
    return (1 - (gains / torch.log2(1 + of_ranks)).sum(1) / ideal).mean()


def smooth_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    return ndcg(ranks(scores)[1], relevance)


def bounded_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    above = scores[:, None, :] - scores[:, :, None]
    bound = torch.sigmoid(above.clamp(max=0.05) / 0.01) + (above > 0) / 2 + 100 * (above - 0.05).clamp(min=0)
    at_least = relevance[:, None, :] >= relevance[:, :, None]
    return ndcg(1 + (torch.where(at_least, (above >= 0).to(scores.dtype), bound) * ~matches(scores)).sum(2), relevance)


def hierarchical_ap(scores: Tensor, relevance: Tensor) -> Tensor:
    above, of_ranks = ranks(scores)
    shared = torch.minimum(relevance[:, None, :], relevance[:, :, None])
    return (1 - ((relevance + (above * shared).sum(2)) / of_ranks).sum(1) / relevance.sum(1)).mean()


class Case(NamedTuple):
    """Maker of a loss, its plain formulation, whether that one is cubic, and the panel of the picture it is in."""

    ours: Callable[[], losses.RetrievalLoss]
    plain: Plain
    panel: str
    cubic: bool = False


HINGES, CONTRASTIVE, LISTWISE = "hinges", "contrastive", "all pairs of a list"
CASES: Mapping[str, Case] = {
    "Triplet, hardest": Case(losses.TripletLoss, lambda s, r: hardest(s), HINGES),
    "Triplet, all": Case(lambda: losses.TripletLoss(mining="all"), lambda s, r: every(s), HINGES),
    "Triplet, soft": Case(lambda: losses.TripletLoss(mining="soft"), soft, HINGES),
    "Triplet, selective": Case(lambda: losses.TripletLoss(mining="selective"), selective, HINGES),
    "Ladder": Case(losses.LadderLoss, ladder, HINGES),
    "LSEH": Case(losses.LSEHLoss, lambda s, r: hardest(s, 0.185 + 0.025 * r), HINGES),
    "Relevance margin": Case(losses.RelevanceMarginLoss, lambda s, r: hardest(s, 0.2 - 0.2 * r), HINGES),
    "SMS": Case(losses.SymmetricMultiSimilarityLoss, multi_similarity, HINGES),
    "Kendall, window 8": Case(lambda: losses.KendallLoss(window=8), windows, HINGES),
    "InfoNCE": Case(losses.ContrastiveLoss, info_nce, CONTRASTIVE),
    "X-CLR": Case(lambda: losses.ContrastiveLoss(relevance_weight=1), soft_info_nce, CONTRASTIVE),
    "RINCE": Case(losses.RankedContrastiveLoss, ranked_contrastive, CONTRASTIVE),
    "SigLIP": Case(losses.SigmoidLoss, sigmoid, CONTRASTIVE),
    "Kendall": Case(losses.KendallLoss, kendall, LISTWISE, cubic=True),
    "Smooth-NDCG": Case(losses.SmoothNDCGLoss, smooth_ndcg, LISTWISE, cubic=True),
    "Smooth-NDCG, bound": Case(lambda: losses.SmoothNDCGLoss(surrogate="bound"), bounded_ndcg, LISTWISE, cubic=True),
    "Hierarchical AP": Case(losses.HierarchicalAPLoss, hierarchical_ap, LISTWISE, cubic=True),
}


def of_both_directions(plain: Plain) -> Plain:
    return lambda scores, relevance: (plain(scores, relevance) + plain(scores.T, relevance.T)) / 2


class Peer(NamedTuple):
    """A loss of another library, and ours that is nearest; both are given embeddings."""

    library: str
    ours: Callable[[], losses.RetrievalLoss]
    theirs: Callable[[], FromEmbeddings]
    cubic: bool = False


def pairs_of_metric_learning(name: str, miner: str | None = None, **options: float) -> FromEmbeddings:
    """A loss of pytorch-metric-learning, of images that rank texts and of texts that rank images."""
    from pytorch_metric_learning import distances, miners
    from pytorch_metric_learning import losses as theirs

    loss = getattr(theirs, name)(distance=distances.CosineSimilarity(), **options)
    mine = getattr(miners, miner)(distance=distances.CosineSimilarity()) if miner else None

    def one_way(queries: Tensor, candidates: Tensor) -> Tensor:
        labels = torch.arange(len(queries), device=queries.device)
        of_candidates = labels.clone()  # the same tensor would say that queries and candidates are the same
        mined = None if mine is None else mine(queries, labels, candidates, of_candidates)
        return loss(queries, labels, mined, candidates, of_candidates)

    return lambda images, texts: (one_way(images, texts) + one_way(texts, images)) / 2


def smooth_ap_of_metric_learning() -> FromEmbeddings:
    """Which ranks images and texts together: lists twice as long, twice as many."""
    from pytorch_metric_learning.losses import SmoothAPLoss

    loss = SmoothAPLoss()

    def together(images: Tensor, texts: Tensor) -> Tensor:
        labels = torch.arange(len(images), device=images.device)
        return loss(torch.cat([images, texts]), torch.cat([labels, labels]))

    return together


def of_sentence_transformers() -> FromEmbeddings:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    loss = MultipleNegativesRankingLoss(
        None, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    return lambda images, texts: loss.compute_loss_from_embeddings([images, texts], images)


METRIC_LEARNING, SENTENCE_TRANSFORMERS = "pytorch-metric-learning", "sentence-transformers"
PEERS: Mapping[str, Peer] = {
    "TripletMarginLoss + BatchHardMiner": Peer(
        METRIC_LEARNING,
        losses.TripletLoss,
        lambda: pairs_of_metric_learning("TripletMarginLoss", "BatchHardMiner", margin=0.2),
    ),
    "NTXentLoss": Peer(
        METRIC_LEARNING,
        losses.ContrastiveLoss,
        lambda: pairs_of_metric_learning("NTXentLoss", temperature=0.05),
    ),
    "SmoothAPLoss": Peer(METRIC_LEARNING, losses.HierarchicalAPLoss, smooth_ap_of_metric_learning, cubic=True),
    "MultipleNegativesRankingLoss": Peer(SENTENCE_TRANSFORMERS, losses.ContrastiveLoss, of_sentence_transformers),
}


def installed_peers() -> dict[str, Peer]:
    return {name: peer for name, peer in PEERS.items() if find_spec(peer.library.replace("-", "_"))}
