import pytest
import torch

from vse_lightning import functional
from vse_lightning.losses import HierarchicalAPLoss


def test_options_reach_the_function(batch):
    total, count = HierarchicalAPLoss(0.2).query_terms(*batch)["hierarchical_ap"]
    relevance = batch.relevance.masked_fill(batch.positives, 1)
    expected, queries = functional.hierarchical_ap(batch.scores, relevance, 0.2)
    assert torch.equal(total, expected)
    assert torch.equal(count, queries)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got nan"):
        HierarchicalAPLoss(temperature=float("nan"))
