"""How sure a mean over queries is, and whether the means of two runs differ: by resampling whole images."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_whole

ValuesPerQuery = Tensor | Mapping[str, Tensor]
"""One value per query ``(Q,)``, or such for each direction, as ``per_query`` of a metric returns them."""

_DRAWS_AT_ONCE = 1 << 17  # small enough for the cache of a CPU


class Interval(NamedTuple):
    """From ``low`` to ``high``."""

    low: float
    high: float


@typed
def bootstrap_interval(
    values: ValuesPerQuery,
    groups: ValuesPerQuery | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean over queries, or of the sum of the means of several directions.

    The five captions of an image are no five independent queries: whoever finds one by the picture finds the others.
    With ``groups``, whole images are drawn with all their captions; without, intervals of text queries are too narrow.

    Args:
        values: ``(Q,)`` one value per query; or by direction, as ``per_query`` of a metric returns them.
        groups: ``(Q,)`` integers, or by direction: the image of each query; default: every query is independent.
        confidence: of the interval, above 0 and below 1.
        resamples: how often to draw as many groups as there are, with replacement.
        seed: of the random numbers; the same seed draws the same groups for every metric.

    Returns:
        The interval.

    Raises:
        ValueError: if an argument is out of its range, lengths differ, a value is not finite, or there are several
            directions whose groups are not the same.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles); Field and Welsh,
        "Bootstrapping clustered data", JRSS B 2007 (whole groups).

    Relations:
        Without groups equal to :func:`scipy.stats.bootstrap` of ``np.mean`` with ``method="percentile"``.

    Example:
        >>> import torch
        >>> found = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
        >>> bootstrap_interval(found)
        Interval(low=0.375, high=1.0)
        >>> bootstrap_interval(found, groups=torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
        Interval(low=0.5, high=1.0)
    """
    require(0 < confidence < 1, "confidence must lie between 0 and 1, got {}", confidence)
    require_whole("resamples", resamples)
    totals, sizes = _by_group(values, groups)
    draw = np.random.default_rng(seed)
    means = []
    for rows in _chunks(resamples, totals.shape[1]):
        times = _times_drawn(draw, rows, totals.shape[1])
        means.append((times @ totals.T / (times @ sizes.T)).sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(low), float(high))


@typed
def paired_randomization_test(
    first: ValuesPerQuery,
    second: ValuesPerQuery,
    groups: ValuesPerQuery | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value for the difference of two runs on the same queries.

    If the runs were equally good, it would not matter which of them produced which of a query's two values. The p-value
    is the share of random swaps that make the difference of the means at least as large as it is, the observed one
    counted in, so it is never 0. With ``groups``, all queries of an image are swapped together.

    It says whether a difference could be chance for other queries like these. It does not know the variance between
    training runs, and is not corrected for the number of comparisons.

    Args:
        first: ``(Q,)`` one value per query; or by direction, where the means are added.
        second: the same for the other run, in the same order of queries.
        groups: ``(Q,)`` integers, or by direction: the image of each query; default: every query is independent.
        resamples: how many random swaps.
        seed: of the random numbers.

    Returns:
        The p-value, at least 1 / (1 + resamples); 1 if the runs agree on every query.

    Raises:
        ValueError: if an argument is out of its range, lengths differ, a value is not finite, or there are several
            directions whose groups are not the same.

    References:
        Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
        Evaluation", CIKM 2007.

    Relations:
        :func:`scipy.stats.permutation_test` with ``permutation_type="samples"`` approximates the same value.

    Example:
        >>> import torch
        >>> paired_randomization_test(torch.ones(10), torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) < 0.01
        True
        >>> paired_randomization_test(torch.ones(4), torch.tensor([1.0, 1.0, 1.0, 0.0]))
        1.0
    """
    require_whole("resamples", resamples)
    first_totals, sizes = _by_group(first, groups)
    second_totals, second_sizes = _by_group(second, groups)
    require(
        np.array_equal(sizes, second_sizes),
        "first and second must have a value for each of the same queries, got {} and {}",
        *(int(of_run.sum()) for of_run in (sizes, second_sizes)),
    )
    differences = ((second_totals - first_totals) / sizes.sum(axis=1, keepdims=True)).sum(axis=0)
    differences = differences[differences != 0]  # swapping equal values changes nothing
    rounding = 1e-12 * np.abs(differences).sum()
    observed = abs(differences.sum()) - rounding
    draw = np.random.default_rng(seed)
    extreme = 0
    for rows in _chunks(resamples, len(differences)):
        swapped = draw.integers(0, 2, (rows, len(differences)), dtype=np.int8).astype(np.float64)
        extreme += int((np.abs(differences.sum() - 2 * (swapped @ differences)) >= observed).sum())
    return (1 + extreme) / (1 + resamples)


def _by_group(values: ValuesPerQuery, groups: ValuesPerQuery | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the values and number of the queries of each group: ``(directions, groups)`` each."""
    by_direction = _of_directions("values", values)
    if groups is None:
        require(len(by_direction) == 1, "groups must be given for values of several directions: {}", list(by_direction))
        (only,) = by_direction.values()
        return only[None], np.ones((1, len(only)))
    group_of = _of_directions("groups", groups)
    shapes = [{name: len(of_direction) for name, of_direction in part.items()} for part in (by_direction, group_of)]
    require(shapes[0] == shapes[1], "groups must name one image for each of the values, got {1} for {0}", *shapes)
    members = {name: np.unique(of_direction, return_inverse=True) for name, of_direction in group_of.items()}
    known, *others = (found for found, _ in members.values())
    same = all(np.array_equal(known, other) for other in others)
    require(same, "groups must be the same images in all directions, got {}", list(group_of))
    rows = [(members[name][1], of_direction) for name, of_direction in by_direction.items()]
    totals = [np.bincount(row, weights=of_direction, minlength=len(known)) for row, of_direction in rows]
    sizes = [np.bincount(row, minlength=len(known)).astype(np.float64) for row, _ in rows]
    return np.stack(totals), np.stack(sizes)


def _of_directions(name: str, values: ValuesPerQuery) -> dict[str, NDArray[np.float64]]:
    by_direction = dict(values) if isinstance(values, Mapping) else {"": values}
    require(bool(by_direction), "{} must name at least one direction", name)
    strange = [type(rows).__name__ for rows in by_direction.values() if not isinstance(rows, Tensor)]
    require(not strange, "{} must be tensors (queries,), got {}", name, *strange[:1])
    arrays = {direction: rows.detach().double().numpy(force=True) for direction, rows in by_direction.items()}
    for rows in arrays.values():
        require(rows.ndim == 1 and len(rows) > 0, "{} must be (queries,), at least one, got {}", name, rows.shape)
        require(bool(np.isfinite(rows).all()), "{} must be finite, got {}", name, rows[~np.isfinite(rows)][:1])
    return arrays


def _times_drawn(draw: np.random.Generator, resamples: int, groups: int) -> NDArray[np.float64]:
    """How often each group is drawn in each resample ``(resamples, groups)``."""
    drawn = draw.integers(0, groups, (resamples, groups)) + groups * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * groups).reshape(resamples, groups).astype(np.float64)


def _chunks(resamples: int, width: int) -> Iterator[int]:
    """Numbers of resamples that are drawn at a time."""
    size = max(1, _DRAWS_AT_ONCE // max(1, width))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
