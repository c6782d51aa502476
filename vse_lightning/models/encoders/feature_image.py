"""Encoder of precomputed image features."""

import torch
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_positive, require_share, require_whole
from vse_lightning.models.checkpoints.recipes import Rebuildable
from vse_lightning.models.encoders._pooling import Pooling, PoolingKind, projection


class FeatureImageEncoder(Rebuildable, nn.Module):
    """Encodes precomputed features: one vector per image, or one per region or grid cell.

    Each vector is projected linearly, then an image's vectors are pooled. The released baselines are
    ``pooling="max"`` over 36 regions (BCLS and Listwise), and ``pooling="gpo", residual_mlp=True,
    region_dropout=0.2`` (VSE-infinity).

    Args:
        input_dim: width ``F`` of the features.
        embed_dim: width of the embedding.
        pooling: ``"mean"``, ``"max"`` or ``"gpo"`` (see ``Pooling``); without effect on one vector per image.
        residual_mlp: whether a two-layer perceptron is added to the linear projection.
        dropout: share of the features' values zeroed in training.
        region_dropout: chance of each region to be left out in training (VSE-infinity's size augmentation).
        normalize: whether each vector of features is first scaled to length 1.
        power: to which power the size of every value is raised before that, its sign kept; greater than 0. 0.5 evens
            out pooled activations, few of which are large (the power normalisation of Perronnin et al.).

    References:
        Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding" (VSE-infinity), CVPR 2021.
        Its perceptron has batch normalisation where ours has layer normalisation, so that an image's embedding does
        not depend on its batch.
        Perronnin et al., "Improving the Fisher Kernel for Large-Scale Image Classification", ECCV 2010, section 3.2.

    Example:
        >>> import torch
        >>> encoder = FeatureImageEncoder(input_dim=8, embed_dim=16, pooling="max")
        >>> encoder(torch.rand(3, 8)).shape, encoder(torch.rand(3, 36, 8)).shape
        (torch.Size([3, 16]), torch.Size([3, 16]))
    """

    @typed
    def __init__(
        self,
        input_dim: int,
        embed_dim: int = 1024,
        pooling: PoolingKind = "mean",
        residual_mlp: bool = False,
        dropout: float = 0.0,
        region_dropout: float = 0.0,
        normalize: bool = False,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        require_whole("input_dim", input_dim)
        require_whole("embed_dim", embed_dim)
        require_share("dropout", dropout)
        require(0 <= region_dropout < 1, "region_dropout must be in [0, 1), got {}", region_dropout)
        require_positive("power", power)
        self.input_dim = input_dim
        self.embed_dim = embed_dim
        self.region_dropout = region_dropout
        self.normalize = normalize
        self.power = power
        self.dropout = nn.Dropout(dropout)
        self.linear = projection(input_dim, embed_dim)
        self.mlp = _two_layers(input_dim, embed_dim) if residual_mlp else None
        self.pooling = Pooling(pooling)

    def transform(self, train: bool) -> None:
        """Features need no preparation."""
        return

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings ``(N, embed_dim)`` of features ``(N, F)``, or of regions ``(N, R, F)``; not normalised."""
        if image.ndim not in (2, 3) or image.shape[-1] != self.input_dim:
            raise ValueError(
                f"input_dim={self.input_dim} asks for features (N, {self.input_dim}) or (N, R, {self.input_dim}), "
                f"got {tuple(image.shape)}; pictures need an encoder of pictures, such as TimmImageEncoder"
            )
        features = image if self.power == 1 else image.sign() * image.abs() ** self.power
        if self.normalize:
            features = torch.nn.functional.normalize(features, dim=-1)
        regions = self.dropout(features if image.ndim == 3 else features.unsqueeze(1))
        vectors: Tensor = self.linear(regions)
        if self.mlp is not None:
            vectors = vectors + self.mlp(regions)
        pooled: Tensor = self.pooling(vectors, self._kept_regions(vectors))
        return pooled

    def _kept_regions(self, vectors: Tensor) -> Tensor | None:
        if not self.training or self.region_dropout == 0:
            return None
        chances = torch.rand(vectors.shape[:2], device=vectors.device)
        # Every image keeps at least its luckiest region.
        return chances >= torch.minimum(chances.amax(1, keepdim=True), chances.new_tensor(self.region_dropout))


def _two_layers(input_dim: int, output_dim: int) -> nn.Sequential:
    hidden_dim = output_dim // 2
    return nn.Sequential(
        nn.Linear(input_dim, hidden_dim), nn.LayerNorm(hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, output_dim)
    )
