"""Several losses on the same lists, weighted."""

from torch import nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_name, require_not_negative
from vse_lightning.losses.retrieval_loss import RetrievalLoss

_LOGGED_ALREADY = ("loss", "relevance_loss")


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

    @typed
    def __init__(self, losses: dict[str, RetrievalLoss], weights: dict[str, float]) -> None:
        super().__init__()
        require(len(losses) > 0, "losses must name at least one loss, got {}", dict(losses))
        same = set(losses) == set(weights)
        require(same, "weights must have the names of losses {}, got {}", sorted(losses), sorted(weights))
        for name, weight in weights.items():
            require_not_negative(f"weights[{name!r}]", weight)
        for name, loss in losses.items():
            _check_name(name)
            known = isinstance(loss, RetrievalLoss)
            require(known, "losses[{!r}] must be a RetrievalLoss, got {}", name, type(loss).__name__)
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)
        names = sorted(name for key, loss in losses.items() for name in _named(key, loss))
        require(len(names) == len(set(names)), "losses must have terms of different names, got {}", names)
        self.needs_relevance = any(loss.needs_relevance for loss in losses.values())

    def parts(self) -> dict[str, tuple[float, RetrievalLoss]]:
        """The parts of all losses, under their names here and with the weights of both."""
        return {
            name: (self.weights[key] * weight, part)
            for key, loss in self._members()
            for name, (weight, part) in _named(key, loss).items()
        }

    def clamp_(self) -> None:
        """Bring the learnable parameters of all losses back into their range."""
        for _, loss in self._members():
            loss.clamp_()

    def _members(self) -> list[tuple[str, RetrievalLoss]]:
        return [(key, loss) for key, loss in self.losses.items() if isinstance(loss, RetrievalLoss)]


def _named(key: str, loss: RetrievalLoss) -> dict[str, tuple[float, RetrievalLoss]]:
    """A loss of one part goes by its key; those of several are told apart."""
    parts = loss.parts()
    return {key if len(parts) == 1 else f"{key}_{name}": part for name, part in parts.items()}


def _check_name(name: str) -> None:
    """A name becomes part of a logged one and an entry of an ``nn.ModuleDict``, which has attributes of its own."""
    require_name("losses", name)
    free = not hasattr(nn.ModuleDict(), name) and name not in _LOGGED_ALREADY
    require(free, "losses must have names that nothing else has in a module or a log, got {!r}", name)
