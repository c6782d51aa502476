"""Triplet loss whose margin grows with the semantic closeness of the negative (LSEH)."""

from torch import Tensor

from vse_lightning.functional._triplet import Mining, triplet


def semantic_margin(
    scores: Tensor,
    relevance: Tensor,
    positives: Tensor,
    margin: float = 0.185,
    semantic_weight: float = 0.025,
    mining: Mining = "hardest",
    average: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Semantically-enhanced hard negatives: a triplet loss with the margin :math:`m_n = \alpha + \lambda r_n`.

    - :math:`\alpha` (``margin``), :math:`\lambda` (``semantic_weight``);
    - :math:`r_n` (``relevance``): how close the negative is; close negatives are pushed further away. A negative
      ``semantic_weight`` pushes them less: with :math:`\lambda = -\alpha` the margin is :math:`\alpha (1 - r_n)`, the
      relevance margin.

    The paper's factor is an LSA inner product divided by its maximum over the row of the batch; here it is the
    relevance in [0, 1] of whatever source the labels come from (``LSARelevance`` for the paper's, as a cosine). The
    released code leaves captions of the query's own image in the maximum, with margin 0; here they are no negatives.

    Shape:
        - ``scores``, ``relevance``: ``(Q, C)`` float; ``positives``: ``(Q, C)`` bool.
        - Output: total ``(Q,)`` and count ``(Q,)`` as of :func:`~vse_lightning.functional.triplet`.

    References:
        - Gong and Cosma, "Improving Visual-Semantic Embeddings by Learning Semantically-Enhanced Hard Negatives for
          Cross-modal Information Retrieval", Pattern Recognition 137, 2023.
        - Falcon et al., "Relevance-based Margin for Contrastively-trained Video Retrieval Models", ICMR 2022: the
          relevance margin.

    Relations:
        ``semantic_weight=0``, or relevance 0, is :func:`~vse_lightning.functional.triplet`.

    Example:
        >>> import torch
        >>> scores, relevance = torch.tensor([[0.9, 0.8, 0.8]]), torch.tensor([[1.0, 0.4, 0.0]])
        >>> semantic_margin(scores, relevance, torch.tensor([[True, False, False]]))
        (tensor([0.0950]), tensor([1]))
    """
    return triplet(scores, positives, margin + semantic_weight * relevance, mining, average=average)
