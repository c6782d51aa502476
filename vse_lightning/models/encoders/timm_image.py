"""A timm network as the image encoder."""

import difflib
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_whole
from vse_lightning.models.checkpoints.recipes import Rebuildable
from vse_lightning.models.checkpoints.restoring import is_restoring
from vse_lightning.models.encoders._pooling import projection
from vse_lightning.models.encoders._weight_files import check_loaded, read_weights
from vse_lightning.models.preprocessing.pictures import PictureTransform


class TimmImageEncoder(Rebuildable, nn.Module):
    """Encodes pictures with any of timm's networks and a linear projection.

    Args:
        model: timm's name of the network, with a tag where the pretrained weights matter:
            ``"resnet50.a1_in1k"``.
        pretrained: ``True`` downloads the weights that timm names (or finds them in the local cache), ``False`` starts
            at random, a path is the same as ``weights``.
        weights: a file to read the weights from, in place of ``pretrained``: as timm saves them, or of another
            implementation of the same network, whose tensors must have timm's shapes in timm's order. Nothing in it is
            run.
        embed_dim: width of the embedding; ``None`` leaves out the projection and takes the network's own.
        image_size: side of the square that pictures are brought to, ``None`` for the network's own; smaller is faster.
        crop_pct: share of the side that the central crop of evaluation keeps, ``None`` for the network's own.
            1.0 keeps the borders, which captions may well mention.
        crop_scale: smallest and largest share of the picture's area that a training crop keeps.
        horizontal_flip: chance of mirroring a picture in training. 0 by default: captions say "left" and "right".
        freeze: whether the network stays as it is (its batch normalisation too) and only the projection learns.
        gradient_checkpointing: whether to recompute activations in the backward pass instead of storing them.

    Example:
        >>> import torch
        >>> encoder = TimmImageEncoder("test_resnet", pretrained=False, embed_dim=16, image_size=32)
        >>> encoder(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 16])
    """

    @typed
    def __init__(
        self,
        model: str = "resnet50",
        pretrained: bool | str = True,
        embed_dim: int | None = 1024,
        image_size: int | None = None,
        crop_pct: float | None = None,
        crop_scale: tuple[float, float] = (0.6, 1.0),
        horizontal_flip: float = 0.0,
        freeze: bool = False,
        gradient_checkpointing: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        require_extra("TimmImageEncoder", "models", "timm", "PIL")
        for name, size in {"embed_dim": embed_dim, "image_size": image_size}.items():
            if size is not None:
                require_whole(name, size)
        require(crop_pct is None or 0 < crop_pct <= 1, "crop_pct must be in (0, 1], got {}", crop_pct)
        smallest, largest = crop_scale
        require(0 < smallest <= largest <= 1, "crop_scale must rise within (0, 1], got {}", crop_scale)
        require(0 <= horizontal_flip <= 1, "horizontal_flip must be in [0, 1], got {}", horizontal_flip)
        self.image_size = image_size
        self.crop_pct = crop_pct
        self.crop_scale = crop_scale
        self.horizontal_flip = horizontal_flip
        self.freeze = freeze
        start = str(weights) if weights else pretrained
        self.backbone = _network(model, False if is_restoring() else start, image_size)
        width = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))
        self.embed_dim: int = width if embed_dim is None else embed_dim
        self.projection = nn.Identity() if embed_dim is None else projection(width, embed_dim)
        if gradient_checkpointing:
            _recompute_activations(self.backbone, model)
        if freeze:
            self.backbone.requires_grad_(False).eval()

    def transform(self, train: bool) -> PictureTransform:
        """The callable that turns a picture into what ``forward`` takes, augmented if ``train``."""
        return PictureTransform(
            self.backbone, train, self.image_size, self.crop_pct, self.crop_scale, self.horizontal_flip
        )

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings ``(N, embed_dim)``, not normalised, of pictures ``(N, 3, height, width)``."""
        if not isinstance(image, Tensor) or image.ndim != 4:
            found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(
                f"image must be pictures (N, 3, height, width), got {found}; features need a FeatureImageEncoder"
            )
        embeds: Tensor = self.projection(self.backbone(image))
        return embeds


def _network(model: str, pretrained: bool | str, image_size: int | None) -> Any:
    import timm

    if not timm.is_model(model):
        similar = difflib.get_close_matches(model, timm.list_models(), n=3)
        raise ValueError(f"model must be a network of timm, got {model!r}; similar names: {similar}")
    settings: dict[str, Any] = {"num_classes": 0}
    if image_size is not None and timm.get_pretrained_cfg(model).fixed_input_size:
        settings["img_size"] = image_size
    weights = read_weights(pretrained, model) if isinstance(pretrained, str) else {}
    if weights:
        settings["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
    try:
        network = timm.create_model(model, pretrained=bool(pretrained), **settings)
    except OSError as error:
        raise OSError(
            f"the pretrained weights of timm's {model!r} are neither in the local cache nor could they be downloaded. "
            "Go online once, set weights to a file of them, or start at random with pretrained=False"
        ) from error
    except RuntimeError as error:
        if not weights:
            raise
        first = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), str(error))
        raise ValueError(f"weights: {pretrained} must have the shapes of timm's {model}: {first}") from error
    if weights:
        check_loaded(weights, network, pretrained, model)
    network.pretrained_cfg.pop("state_dict", None)  # timm would keep them a second time
    return network


def _recompute_activations(backbone: Any, model: str) -> None:
    try:
        backbone.set_grad_checkpointing(True)
    except AssertionError as error:
        raise ValueError(f"gradient_checkpointing must be False: timm's {model!r} does not support it") from error
