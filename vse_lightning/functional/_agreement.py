"""Agreement of scores or labels with the ratings of people."""

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require
from vse_lightning.functional._kendall_tau import kendall_counts


@typed
def agreement(values: Tensor, ratings: Tensor) -> dict[str, float]:
    r"""How far values order pairs as people rate them: Kendall's tau-b and tau-c, and Spearman's rho.

    .. math:: \tau_c = \frac{2 (P - D)}{n^2 (m - 1) / m}

    - :math:`P, D`: pairs that both order alike, and opposite; :math:`n`: how many there are;
    - :math:`m`: the smaller number of different values. Flickr8k's judgements are reported in tau-c, times 100.

    Exact also with ties, which Spearman's rho gives the mean of their ranks. Several ratings of one pair are several
    entries.

    Args:
        values: ``(n,)``, of a model or a label source.
        ratings: ``(n,)``, higher is better.

    Returns:
        ``kendall_b``, ``kendall_c`` and ``spearman``, each in [-1, 1]; 0 where values or ratings are constant.

    Raises:
        ValueError: if the shapes differ, there are fewer than two, or a number is not finite.

    Relations:
        Equal to :func:`scipy.stats.kendalltau` (variants b and c) and :func:`scipy.stats.spearmanr`, which return NaN
        for constants.

    Example:
        >>> import torch
        >>> agreement(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([1, 2, 2, 4]))  # doctest: +ELLIPSIS
        {'kendall_b': 0.912..., 'kendall_c': 0.937..., 'spearman': 0.948...}
    """
    values, ratings = (torch.as_tensor(numbers).detach().cpu().double() for numbers in (values, ratings))
    same = values.ndim == 1 and values.shape == ratings.shape and len(values) > 1
    require(same, "values and ratings must be as many, at least two, got shapes {} and {}", values.shape, ratings.shape)
    for name, numbers in (("values", values), ("ratings", ratings)):
        require(bool(numbers.isfinite().all()), "{} must be finite, got {}", name, numbers[~numbers.isfinite()][:1])
    count, different = len(values), min(len(torch.unique(numbers)) for numbers in (values, ratings))
    if different < 2:
        return dict.fromkeys(("kendall_b", "kendall_c", "spearman"), 0.0)
    surplus, untied_values, untied_ratings = (int(counts) for counts in kendall_counts(values[None], ratings[None]))
    by_rank = torch.stack([_mean_ranks(values), _mean_ranks(ratings)])
    return {
        "kendall_b": surplus / (untied_values**0.5 * untied_ratings**0.5),
        "kendall_c": 2 * surplus * different / (count**2 * (different - 1)),
        "spearman": float(torch.corrcoef(by_rank)[0, 1].clamp(-1, 1)),
    }


def _mean_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, index, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0) - (counts.double() - 1) / 2
    return ranks[index]
