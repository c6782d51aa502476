"""Functions of lists that find their gradient on the way to their value, so that nothing else has to be kept for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradient = Callable[[], Tensor]
"""Finds the gradient ``(rows, C)`` of the values of some rows by their scores."""


def value_with_gradient(
    name: str, rows_at_once: Callable[[Tensor], int]
) -> Callable[[Callable[..., tuple[Tensor, Gradient]]], Callable[..., Tensor]]:
    """Make of a function of some lists a differentiable one of all lists, that needs memory for some only.

    The function takes ``scores (rows, C)``, labels of the same shape and a temperature, and returns values ``(rows,)``
    and what finds their :data:`Gradient`. Made one operation of torch, it is opaque to ``torch.compile``; labels are
    constants to it, and it refuses a second derivative.

    Args:
        name: of the operation, and of what has no second derivative.
        rows_at_once: how many of the rows of all ``scores (Q, C)`` the function gets at a time.
    """

    def decorate(of_rows: Callable[..., tuple[Tensor, Gradient]]) -> Callable[..., Tensor]:
        def empty(
            scores: Tensor, labels: list[Tensor], temperature: float, with_gradient: bool
        ) -> tuple[Tensor, Tensor]:
            return scores.new_empty(len(scores)), scores.new_empty(scores.shape if with_gradient else (0, 0))

        @torch.library.custom_op(f"vse_lightning::{name}", mutates_args=())
        def operation(
            scores: Tensor, labels: list[Tensor], temperature: float, with_gradient: bool
        ) -> tuple[Tensor, Tensor]:
            values, gradients = empty(scores, labels, temperature, with_gradient)
            rows = rows_at_once(scores)
            # where its reciprocal would overflow it is raised: all that differs is saturated anyway
            temperature = max(temperature, torch.finfo(scores.dtype).tiny)
            for start in range(0, len(scores), rows):
                part = slice(start, start + rows)
                lists = [matrix[part].contiguous() for matrix in (scores, *labels)]
                values[part], gradient = of_rows(*lists, temperature=temperature)
                if with_gradient:
                    gradients[part] = gradient()
                del gradient  # and all that it holds, before the next rows need as much
            return values, gradients

        operation.register_fake(empty)

        def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
            ctx.set_materialize_grads(False)
            ctx.num_labels = len(inputs[1])
            ctx.save_for_backward(output[1])

        def apply(ctx: Any, upstream: Tensor | None, of_gradient: Tensor | None) -> tuple[Any, ...]:
            if of_gradient is not None:
                raise RuntimeError(
                    f"{name} has no second derivative, its gradient comes with its value: "
                    "leave it out of gradient penalties and other uses of create_graph=True"
                )
            (gradient,) = ctx.saved_tensors
            return None if upstream is None else upstream[:, None] * gradient, [None] * ctx.num_labels, None, None

        operation.register_autograd(apply, setup_context=keep)

        def of_all(scores: Tensor, *labels: Tensor, temperature: float) -> Tensor:
            with_gradient = torch.is_grad_enabled() and scores.requires_grad
            values: Tensor = operation(scores, list(labels), temperature, with_gradient)[0]
            return values

        return of_all

    return decorate
