"""A learnable inverse temperature, kept as its logarithm."""

import math

import torch
from torch import nn

from vse_lightning.checks import require, require_positive


def log_scale_of(temperature: float, learnable: bool, max_scale: float) -> nn.Parameter:
    """Logarithm of 1 / temperature, at most ``max_scale``, as a parameter, learnable or not."""
    require_positive("temperature", temperature)
    require_positive("max_scale", max_scale)
    fits = 1 / temperature <= max_scale * (1 + 1e-9)
    require(fits, "temperature must be at least 1 / max_scale = {}, got {}", 1 / max_scale, temperature)
    return nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)


@torch.no_grad()
def clamp_scale_(log_scale: nn.Parameter, max_scale: float) -> None:
    """Bring the scale back below its bound; in the forward pass the clamp would have no gradient there."""
    log_scale.clamp_(max=math.log(max_scale))
