"""Several losses on the same lists, weighted."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from vse_lightning.checks import require, require_not_negative
from vse_lightning.losses.retrieval_loss import Reduction, RetrievalLoss, Terms, full_precision

Value = TypeVar("Value")


class WeightedSumLoss(RetrievalLoss):
    """Weighted sum of losses: the combinations of the papers.

    - Listwise: triplet + Smooth-NDCG;
    - BCLS: soft-negative triplet + windowed Kendall;
    - a contrastive loss + Smooth-NDCG, for CLIP.

    Each loss keeps its own reduction; its terms carry its name.

    Args:
        losses: the losses by name.
        weights: one weight per name; at least 0.

    Example:
        >>> from vse_lightning.losses import KendallLoss, TripletLoss
        >>> bcls = WeightedSumLoss({"soft": TripletLoss(mining="soft"), "order": KendallLoss(window=8)},
        ...                        {"soft": 1.0, "order": 1.0})
        >>> bcls.needs_relevance
        True
    """

    def __init__(self, losses: dict[str, RetrievalLoss], weights: dict[str, float]) -> None:
        super().__init__()
        require(len(losses) > 0, "losses must name at least one loss, got {}", dict(losses))
        same = set(losses) == set(weights)
        require(same, "weights must have the names of losses {}, got {}", sorted(losses), sorted(weights))
        for name, weight in weights.items():
            require_not_negative(f"weights[{name!r}]", weight)
        for name, loss in losses.items():
            known = isinstance(loss, RetrievalLoss)
            require(known, "losses[{!r}] must be a RetrievalLoss, got {}", name, type(loss).__name__)
        terms = sorted(term for name, loss in losses.items() for term in _named(name, loss.reductions()))
        require(len(terms) == len(set(terms)), "losses must have terms of different names, got {}", terms)
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)
        self.needs_relevance = any(loss.needs_relevance for loss in losses.values())

    def query_terms(self, scores: Tensor, relevance: Tensor | None = None, positives: Tensor | None = None) -> Terms:
        """Terms of all losses, totals already weighted."""
        scores = full_precision(scores)
        return {
            name: (self.weights[key] * total, count)
            for key, loss in self._members()
            for name, (total, count) in _named(key, loss.query_terms(scores, relevance, positives)).items()
        }

    def reductions(self) -> dict[str, Reduction]:
        """How each term is reduced: as its loss says."""
        return {
            name: reduction
            for key, loss in self._members()
            for name, reduction in _named(key, loss.reductions()).items()
        }

    def clamp_(self) -> None:
        """Bring the learnable parameters of all losses back into their range."""
        for _, loss in self._members():
            loss.clamp_()

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"weights={self.weights}"

    def _members(self) -> list[tuple[str, RetrievalLoss]]:
        return [(key, loss) for key, loss in self.losses.items() if isinstance(loss, RetrievalLoss)]


def _named(key: str, terms: Mapping[str, Value]) -> dict[str, Value]:
    """A loss of one term goes by its key; those of several are told apart."""
    return {key if len(terms) == 1 else f"{key}_{term}": value for term, value in terms.items()}
