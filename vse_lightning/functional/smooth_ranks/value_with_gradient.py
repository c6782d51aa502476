"""Functions of lists that find their gradient on the way to their value, so that nothing else has to be kept for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradient = Callable[[], Tensor]
"""Finds the gradient ``(rows, C)`` of the values of some rows by their scores."""

OfRows = Callable[..., tuple[Tensor, Gradient]]
"""Of ``scores (rows, C)``, labels of the same shape and a ``temperature``: values ``(rows,)``, and their gradient."""


def value_with_gradient(name: str, rows_at_once: Callable[[Tensor], int]) -> Callable[[OfRows], Callable[..., Tensor]]:
    """Make of a function of some lists a differentiable one of all lists, with memory for ``rows_at_once`` only.

    It becomes one operation of torch, opaque to ``torch.compile``; labels are constants to it, and it refuses a second
    derivative.
    """

    def decorate(of_rows: OfRows) -> Callable[..., Tensor]:
        @torch.library.custom_op(f"vse_lightning::{name}", mutates_args=())
        def operation(scores: Tensor, labels: Tensor, temperature: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
            rows = rows_at_once(scores)
            if 0 < len(scores) <= rows:
                return _found(of_rows, scores, labels, temperature, with_gradient)
            values, gradients = _empty(scores, labels, temperature, with_gradient)
            for start in range(0, len(scores), rows):
                part = slice(start, start + rows)
                found = _found(of_rows, scores[part], labels[:, part], temperature, with_gradient)
                values[part], gradients[part] = found
            return values, gradients

        def apply(ctx: Any, upstream: Tensor | None, of_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
            if of_gradient is not None:
                raise RuntimeError(
                    f"{name} has no second derivative, its gradient comes with its value: "
                    "leave it out of gradient penalties and other uses of create_graph=True"
                )
            (gradient,) = ctx.saved_tensors
            return None if upstream is None else upstream[:, None] * gradient, None, None, None

        operation.register_fake(_empty)
        operation.register_autograd(apply, setup_context=_keep)

        def of_all(scores: Tensor, *labels: Tensor, temperature: float) -> Tensor:
            with_gradient = torch.is_grad_enabled() and scores.requires_grad
            values: Tensor = operation(scores, torch.stack(labels), temperature, with_gradient)[0]
            return values

        return of_all

    return decorate


def _found(
    of_rows: OfRows, scores: Tensor, labels: Tensor, temperature: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Values ``(rows,)`` and gradients ``(rows, C)`` of some rows."""
    # where its reciprocal would overflow the temperature is raised: all that differs is saturated anyway
    temperature = max(temperature, torch.finfo(scores.dtype).tiny)
    values, gradient = of_rows(scores.contiguous(), *labels.contiguous(), temperature=temperature)
    return values, gradient() if with_gradient else values.new_empty(0, 0)


def _empty(scores: Tensor, labels: Tensor, temperature: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return scores.new_empty(len(scores)), scores.new_empty(scores.shape if with_gradient else (0, 0))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])
