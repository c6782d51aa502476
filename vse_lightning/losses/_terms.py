"""Terms of a loss: what every query adds to them, and how queries, directions and processes come together."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from vse_lightning.distributed import process_count, sum_over_processes
from vse_lightning.functional.directions import Direction

Terms = dict[str, tuple[Tensor, Tensor]]
"""Per term of a loss: its total ``(Q,)`` and count ``(Q,)`` for every query."""

Reduction = Literal["mean", "sum"]


def require_finite(value: Tensor, what: str, inputs: Sequence[Tensor]) -> Tensor:
    """The value of a loss; on the CPU a ``ValueError`` about its inputs, ``what``, where it is no finite number."""
    if value.device.type == "cpu" and not torch.compiler.is_compiling() and not value.isfinite():
        finite = all(bool(each.isfinite().all()) for each in inputs)
        size = max((float(each.abs().max()) for each in inputs if each.numel()), default=0.0)
        rule = "the loss does not fit {1}: {2} are of size up to {3:.1e}" if finite else "{2} must be finite, and the "
        rule += "" if finite else "loss is {0}: they hold NaN or infinity"
        raise ValueError(rule.format(value.item(), value.dtype, what, size))
    return value


def reduce_terms(
    terms: Mapping[Direction, Terms], reductions: Mapping[str, Reduction], gathered: bool = False
) -> dict[str, Tensor]:
    """Value of each term over its queries and the directions that have it.

    ``"mean"``: the total of a direction divided by its count, averaged over the term's directions; ``"sum"``: the
    totals of all directions added up. Where queries are ``gathered``, they are this process's share of everybody's:
    counts are summed over the processes, and a value is multiplied by their number, so that the mean over the processes
    is the value of the whole batch.
    """
    entries = [(term, *found[term]) for term in reductions for found in terms.values() if term in found]
    counts = torch.stack([count.sum().to(total.dtype) for _, total, count in entries])
    if gathered:
        counts = sum_over_processes(counts)
    values: dict[str, list[Tensor]] = {}
    for (term, total, _), count in zip(entries, counts, strict=True):
        value = total.sum() if reductions[term] == "sum" else total.sum() / count.clamp(min=1)
        values.setdefault(term, []).append(value)
    share = process_count() if gathered else 1
    return {
        term: torch.stack(found).sum() * (share / (1 if reductions[term] == "sum" else len(found)))
        for term, found in values.items()
    }
