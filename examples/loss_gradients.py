"""What each loss does to one list of candidates, as a picture.

python examples/loss_gradients.py [FILE.svg]

One query ranks ten candidates. Each panel shows where a step against the gradient moves their scores: up is nearer to
the query, down is away from it, relative to the largest move of the panel.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from vse_lightning import (
    ContrastiveLoss,
    HierarchicalAPLoss,
    KendallLoss,
    LadderLoss,
    LSEHLoss,
    RankedContrastiveLoss,
    RelevanceMarginLoss,
    SigmoidLoss,
    SmoothNDCGLoss,
    SymmetricMultiSimilarityLoss,
    TripletLoss,
)

mpl.use("agg")
from matplotlib import pyplot

# the positive is third: behind a candidate that has nothing to do with the query, and one that would do as well
SCORES = torch.tensor([[0.70, 0.64, 0.60, 0.54, 0.46, 0.40, 0.33, 0.25, 0.14, 0.05]])
RELEVANCE = torch.tensor([[0.10, 0.80, 1.00, 0.65, 0.30, 0.90, 0.05, 0.50, 0.15, 0.70]])
POSITIVES = torch.tensor([[False, False, True, *[False] * 7]])

LOSSES = {
    "Triplet, hardest": TripletLoss(),
    "Triplet, all": TripletLoss(mining="all"),
    "Triplet, soft": TripletLoss(mining="soft", temperature=0.05),
    "RANP: triplet,\npositive_threshold=0.63": TripletLoss(mining="all", positive_threshold=0.63),
    "Ladder": LadderLoss(),
    "LSEH": LSEHLoss(),
    "Relevance margin": RelevanceMarginLoss(mining="all"),
    "SMS": SymmetricMultiSimilarityLoss(),
    "Kendall": KendallLoss(),
    "InfoNCE": ContrastiveLoss(),
    "X-CLR: InfoNCE,\nrelevance_weight=1": ContrastiveLoss(relevance_weight=1.0),
    "RINCE": RankedContrastiveLoss(),
    "SigLIP": SigmoidLoss(),
    "Smooth-NDCG": SmoothNDCGLoss(temperature=0.05),
    "Smooth-NDCG,\nsurrogate='bound'": SmoothNDCGLoss(temperature=0.05, surrogate="bound"),
    "Hierarchical AP": HierarchicalAPLoss(temperature=0.05),
}
INK, MATCH = "#7d7d7d", "#d9822b"  # readable on white and on black


def moves(loss: torch.nn.Module) -> list[float]:
    """Of each candidate, against the gradient, as a share of the largest."""
    scores = SCORES.clone().requires_grad_()
    ((total, _),) = loss.query_terms(scores, RELEVANCE, POSITIVES).values()
    (gradient,) = torch.autograd.grad(total.sum(), scores)
    return (-gradient[0] / gradient.abs().max()).tolist()


def colour_of(grade: float) -> tuple[float, ...] | str:
    """The more relevant, the darker."""
    return MATCH if grade == 1 else (0.23, 0.51, 0.77, 0.25 + 0.75 * grade)


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "loss_gradients.svg")
    grey = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    mpl.rcParams.update({**grey, "font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "loss_gradients"})
    figure, axes = pyplot.subplots(4, 4, figsize=(11, 8), sharey=True, layout="constrained")
    labels = [f"{value:.2f}".lstrip("0") for value in RELEVANCE[0].tolist()]
    for axis, (name, loss) in zip(axes.flat, LOSSES.items(), strict=True):
        values = moves(loss)
        print(f"{' '.join(name.split()):44} {' '.join(f'{value:+.2f}' for value in values)}")
        axis.bar(range(len(values)), values, color=[colour_of(grade) for grade in RELEVANCE[0].tolist()])
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set(title=name, xticks=range(len(labels)), ylim=(-1.1, 1.1), yticks=[])
        axis.set_xticklabels(labels, fontsize=6.5)
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.suptitle(
        "Where a step moves the candidates of one query, best-scored first; below: their relevance (1 = match)"
    )
    figure.savefig(file, transparent=True, metadata={"Date": None})
    print(file)


if __name__ == "__main__":
    main()
