"""Learning rates that are lower where a network knows something already."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR


def decayed_optimizer(
    make: Callable[[Iterable[dict[str, Any]]], Optimizer],
    parameters: Iterable[nn.Parameter],
    towers: Iterable[nn.Module],
    decay: float,
) -> Optimizer:
    """An optimizer whose learning rate falls by a factor from layer to layer.

    With ``n`` layers in a tower, what stands behind them (final norm, projection) and everything outside the towers
    learns at the full rate, layer ``i = 1 ... n`` at ``decay ** (n + 1 - i)`` of it, and what stands before them (the
    embeddings) at ``decay ** (n + 1)``.

    Args:
        make: makes the optimizer from groups of parameters.
        parameters: those that learn.
        towers: networks whose layers are in a ``ModuleList``, as those of Hugging Face.
        decay: the factor.

    Raises:
        ValueError: if a tower has no ``ModuleList``.

    References:
        Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022.
    """
    depths = {parameter: depth for tower in towers for parameter, depth in _depths(tower)}
    return optimizer_by_depth(make, parameters, depths, decay)


def optimizer_by_depth(
    make: Callable[[Iterable[dict[str, Any]]], Optimizer],
    parameters: Iterable[nn.Parameter],
    depths: Mapping[nn.Parameter, int],
    decay: float,
) -> Optimizer:
    """An optimizer in which a parameter of depth ``d``, by default 0, learns at ``decay ** d`` of the rate."""
    by_depth: dict[int, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        by_depth[depths.get(parameter, 0)].append(parameter)
    optimizer = make([{"params": by_depth[depth], "depth": depth} for depth in sorted(by_depth)])
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * decay ** group["depth"]
    return optimizer


def require_rates_kept(schedules: Iterable[dict[str, Any]], without: str) -> None:
    """Raise a ``ValueError`` if a schedule sets one rate for all; ``without`` is the argument that needs no other."""
    for schedule in schedules:
        if isinstance(schedule["scheduler"], OneCycleLR | CyclicLR):
            raise ValueError(
                f"lr_scheduler must keep the rates of the layers, but {type(schedule['scheduler']).__name__} sets its "
                f"own: take another, such as CosineAnnealingLR, or {without}"
            )


def _depths(tower: nn.Module) -> Iterable[tuple[nn.Parameter, int]]:
    """Each parameter with the number of layers from its own on to the output."""
    layers = next(((name, module) for name, module in tower.named_modules() if isinstance(module, nn.ModuleList)), None)
    if layers is None:
        raise ValueError(
            f"layer_decay needs towers with a list of layers, {type(tower).__name__} has none: leave it None"
        )
    prefix, count = f"{layers[0]}.", len(layers[1])
    seen = False
    for name, parameter in tower.named_parameters():
        if name.startswith(prefix):
            seen = True
            yield parameter, count - int(name.removeprefix(prefix).split(".")[0])
        else:
            yield parameter, 0 if seen else count + 1
