"""A learnable inverse temperature, kept as its logarithm, or that of the model which is trained."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from vse_lightning.checks import require, require_positive

OfModel = Literal["model"]
"""In place of a number: what the model has learnt; the model then learns it further."""


def log_scale_of(temperature: float | OfModel, learnable: bool, max_scale: float) -> nn.Parameter | None:
    """Logarithm of 1 / temperature, at most ``max_scale``, as a parameter; None for the model's own."""
    require_positive("max_scale", max_scale)
    if temperature == "model":
        return None
    require_positive("temperature", temperature)
    fits = 1 / temperature <= max_scale * (1 + 1e-9)
    require(fits, "temperature must be at least 1 / max_scale = {}, got {}", 1 / max_scale, temperature)
    return nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)


def given(argument: str, parameter: nn.Parameter | None) -> Tensor:
    """The parameter; a ``ValueError`` where it is that of a model and no model gave its own."""
    rule = (
        "{}='model' takes what the model has learnt, which CLIPRetriever gives its loss; elsewhere it must be a number"
    )
    require(parameter is not None, rule, argument)
    return parameter  # type: ignore[return-value]


@torch.no_grad()
def clamp_scale_(log_scale: nn.Parameter | None, max_scale: float) -> None:
    """Bring the scale back below its bound; in the forward pass the clamp would have no gradient there."""
    given("temperature", log_scale).clamp_(max=math.log(max_scale))


def temperature_of(log_scale: nn.Parameter | None) -> float | OfModel:
    """As learnt so far."""
    return "model" if log_scale is None else (-log_scale).exp().item()
