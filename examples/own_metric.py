"""A metric of your own: python examples/own_metric.py

A metric is a class that says what it is called, what it reads of a query's ranking, and what it makes of it. The pass
over the gallery, label sources, folds, processes, logs and tables come from `RetrievalMetric`. From YAML it is named
like any other: `extra: [{class_path: own_metric.ExpectedReciprocalRank}]`.
"""

import torch
from torch import Tensor

from vse_lightning import evaluate_embeddings
from vse_lightning.cli import main
from vse_lightning.metrics import Reading, RetrievalMetric


class ExpectedReciprocalRank(RetrievalMetric):
    """ERR@k (Chapelle et al., CIKM 2009): a reader goes down the list until a candidate satisfies, and stops there.

    A candidate of relevance r satisfies with probability (2^r - 1) / 2.

    Args:
        k: how far the reader goes.
        direction: whose queries.
        options: of `RetrievalMetric`.
    """

    def __init__(self, k: int = 10, direction: str = "i2t", **options) -> None:
        super().__init__(**options)
        self.name, self.display_name = f"{direction}_err_at_{k}", f"ERR@{k}"
        self.directions, self.reading = (direction,), Reading(listed=k)  # the k best candidates with their relevance
        self.k = k

    def query_values(self, ranking) -> Tensor:
        satisfied = (torch.exp2(ranking.relevance[:, : self.k]) - 1) / 2  # the ranking may be longer, for others
        goes_on = torch.cumprod(1 - satisfied, dim=1)
        reached = torch.cat([torch.ones_like(goes_on[:, :1]), goes_on[:, :-1]], dim=1)
        return (reached * satisfied / torch.arange(1, satisfied.shape[1] + 1, device=satisfied.device)).sum(dim=1)


def in_python() -> None:
    """Of embeddings, without a Trainer."""
    images, texts, features = torch.randn(50, 8), torch.randn(50, 8), torch.randn(50, 8)
    metrics = [ExpectedReciprocalRank(10, direction) for direction in ("i2t", "t2i")]
    print(evaluate_embeddings(images, texts, text_features=features, metrics=metrics))


if __name__ == "__main__":
    in_python()
    # from YAML: val/i2t_err_at_10 is logged, and the table at the end has a row "ERR@10 (scene attributes)"
    small = ["--data.init_args.source.init_args.num_images=60", "--data.init_args.num_workers=0"]
    small += ["--trainer.log_every_n_steps=1"]
    quick = [
        "--compare_with=null",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        *small,
    ]
    err = "{class_path: own_metric.ExpectedReciprocalRank, init_args: {direction: %s}}"
    ours = ["--model.init_args.retrieval_metrics.init_args.extra", f"[{err % 'i2t'}, {err % 't2i'}]"]
    main(["fit", "--config", "quickstart.yaml", *quick, *ours])
