"""A loss of your own: python examples/own_loss.py

A loss is a class with one method, `per_query`, and the name of its `term`. Reduction, directions, positives, gathering
over processes and logging come from `RetrievalLoss`. From YAML it is named like any other:
`relevance_loss: {class_path: own_loss.CorrelationLoss}`.
"""

import torch
from torch import Tensor

from vse_lightning.cli import main
from vse_lightning.losses import RetrievalLoss, TripletLoss, WeightedSumLoss


class CorrelationLoss(RetrievalLoss):
    """One minus the correlation of scores and relevance over a query's candidates: 0 where one is linear in the other.

    Args:
        epsilon: added to the product of the deviations: lists of equal scores or labels have no correlation.
    """

    term = "correlation"
    needs_relevance = True

    def __init__(self, epsilon: float = 1e-4, **options) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def per_query(self, scores: Tensor, relevance: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        scores, relevance = (lists - lists.mean(1, keepdim=True) for lists in (scores, relevance))
        deviations = scores.square().mean(1).clamp(min=1e-12).sqrt() * relevance.square().mean(1).sqrt()
        correlation = (scores * relevance).mean(1) / (deviations + self.epsilon)
        return 1 - correlation, torch.ones_like(correlation)


MIXED = """
class_path: WeightedSumLoss
init_args:
  losses: {triplet: {class_path: TripletLoss}, correlation: {class_path: own_loss.CorrelationLoss}}
  weights: {triplet: 1.0, correlation: 0.5}
"""


def in_python() -> None:
    """Of embeddings, in a training loop of your own."""
    images, texts, relevance = torch.randn(4, 8), torch.randn(4, 8), torch.rand(4, 4)
    losses = {"triplet": TripletLoss(), "correlation": CorrelationLoss()}
    loss = WeightedSumLoss(losses, weights={"triplet": 1.0, "correlation": 0.5})
    print(f"loss of random scores: {loss(images @ texts.T, relevance):.3f}")


if __name__ == "__main__":
    in_python()
    # from YAML: train/triplet and train/correlation are logged, the table stands at the end
    small = ["--data.init_args.source.init_args.num_images=60", "--data.init_args.num_workers=0"]
    small += ["--trainer.log_every_n_steps=1"]
    quick = [
        "--compare_with=null",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        *small,
    ]
    loss = ["--model.init_args.relevance_loss", MIXED]
    main(["fit", "--config", "quickstart.yaml", *quick, *loss])
