"""InfoNCE with several positives and, optionally, targets softened by relevance."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def contrastive(
    scores: Tensor,
    positives: Tensor,
    relevance: Tensor | None = None,
    scale: float | Tensor = 20.0,
    relevance_weight: float = 0.0,
    relevance_temperature: float = 0.1,
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy between the softmax over the candidates and a target distribution.

    .. math::
        \ell = -\sum_j t_j \log \operatorname{softmax}(c\, s)_j, \qquad
        t = (1 - w) \frac{p}{|p|} + w \operatorname{softmax}(r / \tau_r)

    - :math:`s` (``scores``), :math:`c` (``scale``): the inverse of the temperature;
    - :math:`p` (``positives``): all of a query's positives share the target equally;
    - :math:`r` (``relevance``), :math:`w` (``relevance_weight``), :math:`\tau_r` (``relevance_temperature``).

    Where :math:`w > 0` a query without positives has the target :math:`\operatorname{softmax}(r / \tau_r)`.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool; ``scale``: number or scalar.
        - Output: total ``(Q,)`` and count ``(Q,)``: 1, or 0 for a query without positives where :math:`w = 0`.

    References:
        - van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, eq. 4.
        - Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
        - Sobal et al., "X-Sample Contrastive Loss", 2024: ``relevance_weight=1``.
        - Huang et al., "Cross-modal and Uni-modal Soft-label Alignment for Image-Text Retrieval", AAAI 2024: the same
          within a modality. They write it as a Kullback-Leibler divergence, which has the same gradient.

    Relations:
        With ``relevance_weight=0`` and one positive it is the cross-entropy of CLIP.

    Example:
        >>> import torch
        >>> contrastive(torch.zeros(1, 4), torch.tensor([[True, False, False, False]]))  # log 4
        (tensor([1.3863]), tensor([1]))
    """
    matched = positives.sum(1)
    target = positives / matched.clamp(min=1)[:, None].to(scores.dtype)
    count = (matched > 0).long()
    if relevance is not None and relevance_weight > 0:
        softened = torch.softmax(relevance / relevance_temperature, 1)
        weight = torch.where(matched > 0, scores.new_full((), relevance_weight), 1)[:, None]
        target, count = torch.lerp(target, softened, weight), torch.ones_like(count)
    cross_entropy = -(target * log_softmax(scores * scale, 1)).sum(1)
    return cross_entropy * count, count
