"""Margins that follow the relevance, with slack where two candidates are nearly equal (SMS)."""

import torch
from torch import Tensor

from vse_lightning.functional._hinges import sum_of_hinges


def multi_similarity(
    scores: Tensor,
    relevance: Tensor,
    positives: Tensor,
    margin: float = 0.6,
    slack: float = 0.1,
    min_gap: float = 0.005,
) -> tuple[Tensor, Tensor]:
    r"""Symmetric multi-similarity loss: the gap of two scores should be as wide as that of their relevance.

    .. math::
        \ell_p = \frac{1}{|N|} \sum_{n \in N} \begin{cases}
            [h_{pn}]_+ & d_n > g \\
            [\,|h_{pn}| - \theta\,]_+ & d_n \le g
        \end{cases}, \qquad h_{pn} = m\, d_n - (s_p - s_n), \quad d_n = 1 - r_n

    - :math:`s_p, s_n` (``scores``): of a positive and of a negative, which every non-positive is;
    - :math:`r_n` (``relevance``), :math:`m` (``margin``): what the whole range of relevance is worth in scores;
    - :math:`g` (``min_gap``), :math:`\theta` (``slack``): candidates as relevant as the positive up to the gap are kept
      near its score, from either side, within the slack.

    The released code compares the relevance of the pair on the diagonal with the others and has a third case, of
    candidates more relevant than it; positives have relevance 1 here, so that it cannot occur. There, captions of the
    query's own image are near-equals; here they are positives.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool.
        - Output: total ``(Q,)``, the sum over the query's positives, and count ``(Q,)``, their number; both 0 for a
          query without positives or without negatives.

    References:
        Wang et al., "Symmetric Multi-Similarity Loss for EPIC-KITCHENS-100 Multi-Instance Retrieval Challenge 2024",
        2024; the cases as in its released code.

    Relations:
        Without near-equals (no relevance above 1 - ``min_gap``) it is the
        :func:`~vse_lightning.functional.semantic_margin` with ``semantic_weight=-margin`` on all negatives.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[0.9, 0.6, 0.5]]), torch.tensor([[1.0, 0.5, 1.0]])
        >>> multi_similarity(scores, relevance, torch.tensor([[True, False, False]]))  # (0 + (0.4 - 0.1)) / 2
        (tensor([0.1500]), tensor([1]))
    """
    negatives = ~positives
    pairs = positives & negatives.any(1, keepdim=True)
    distance = 1 - relevance
    near = negatives & (distance <= min_gap)
    # |h| - slack is positive where h or -h exceeds the slack: one hinge for those too near, one for those too far
    reach = margin * distance
    total = sum_of_hinges(scores, pairs, negatives, torch.where(near, reach - slack, reach))
    total = total + sum_of_hinges(-scores, pairs, near, -(reach + slack))
    return total / negatives.sum(1).clamp(min=1), pairs.sum(1)
