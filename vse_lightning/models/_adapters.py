"""Adapters (LoRA) inside a Hugging Face model: a few weights that learn beside many that stay."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from vse_lightning.checks import require, require_extra


def check_lora(lora: Mapping[str, Any], pretrained: bool) -> None:
    """Raise unless the arguments make adapters that a checkpoint can bring back on the same pretrained model."""
    require_extra("CLIPRetriever(lora=...)", "lora", "peft")
    require(isinstance(lora, Mapping), "lora must be a dict of arguments of peft.LoraConfig, got {!r}", lora)
    require(pretrained, "lora adapts pretrained weights, got pretrained={}", pretrained)
    start = lora.get("init_lora_weights", True)
    rule = "lora: init_lora_weights must be true or 'gaussian', which leave the model as it is, got {!r}"
    require(start is True or start == "gaussian", rule, start)
    require("modules_to_save" not in lora, "lora takes no modules_to_save: projections learn anyway")
    _config(lora, [])


def add_adapters(model: nn.Module, towers: Iterable[nn.Module], lora: Mapping[str, Any]) -> None:
    """Put adapters into a model; they learn, and so does what stands outside of the towers.

    Args:
        model: a dual encoder.
        towers: its encoders, of which every linear layer of the blocks is adapted, unless ``target_modules`` says
            another thing.
        lora: arguments of ``peft.LoraConfig``.
    """
    from peft import inject_adapter_in_model

    blocks = [
        layer for tower in towers for part in tower.modules() if isinstance(part, nn.ModuleList) for layer in part
    ]
    linear = {id(part) for block in blocks for part in block.modules() if isinstance(part, nn.Linear)}
    names = [name for name, part in model.named_modules() if id(part) in linear]
    found = bool(names or "target_modules" in lora)
    require(found, "lora needs target_modules: {} has no blocks of linear layers", type(model).__name__)
    before = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inject_adapter_in_model(_config(lora, names), model)  # nothing else learns then
    inside = ("vision_model.", "text_model.")
    for name, parameter in model.named_parameters():
        if name in before and not name.startswith(inside):
            parameter.requires_grad_(True)


def merge_adapters(model: nn.Module) -> None:
    """Add what the adapters have learnt to the weights beside them, and remove the adapters."""
    from peft.tuners.lora import LoraLayer

    for name, layer in [(name, part) for name, part in model.named_modules() if isinstance(part, LoraLayer)]:
        layer.merge(safe_merge=True)  # an error, not NaN
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())


def fingerprint(model: nn.Module) -> str:
    """What tells the weights of one pretrained model from those of another: a digest of some of each."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        some = weight.flatten()[:: max(1, weight.numel() // 1000)].to(torch.float32).contiguous()
        digest.update(f"{name} {tuple(weight.shape)} ".encode() + some.numpy(force=True).tobytes())
    return digest.hexdigest()


def _config(lora: Mapping[str, Any], target_modules: list[str]) -> Any:
    from peft import LoraConfig

    try:
        return LoraConfig(**{"target_modules": target_modules, **lora})
    except TypeError as error:
        raise ValueError(f"lora must be a dict of arguments of peft.LoraConfig, got {dict(lora)}: {error}") from error
