from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Lists(NamedTuple):
    scores: Tensor
    relevance: Tensor
    positives: Tensor


@pytest.fixture(params=["distinct", "tied"])
def lists(request: pytest.FixtureRequest) -> Lists:
    """Float64 lists with uneven positives: none, all, one, several; with and without ties."""
    generator = torch.Generator().manual_seed(0)
    scores = 0.3 * torch.randn(8, 11, dtype=torch.float64, generator=generator)
    relevance = torch.rand(8, 11, dtype=torch.float64, generator=generator)
    if request.param == "tied":
        scores, relevance = scores.round(decimals=1), relevance.round(decimals=1)
    positives = torch.rand(8, 11, generator=generator) < 0.25
    positives[0], positives[1], positives[2] = False, True, torch.arange(11) == 4
    return Lists(scores, relevance.masked_fill(positives, 1), positives)
