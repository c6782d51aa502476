"""Files of weights for timm's networks: timm's own, or of another implementation with the same layers in its order."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.paths import expanded

_COUNT = "num_batches_tracked"  # which files of old versions lack, and nothing depends on
WRAPPED_IN = ("state_dict", "model")  # what people save weights under


def read_weights(path: str | Path, model: str) -> dict[str, Tensor]:
    """The weights in a file under timm's names; nothing in it is run.

    A file whose names timm does not know is taken in order: EfficientNet-Lite of other repositories, for example, has
    the tensors of ``tf_efficientnet_lite0`` one to one.

    Args:
        path: of a ``.safetensors`` file or of what ``torch.save`` wrote.
        model: timm's name of the network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no weights, or those of another network; the message names the first tensor that differs.
    """
    path = expanded(path)
    if not path.is_file():
        raise FileNotFoundError(f"pretrained and weights must lead to a file of weights, found no file {str(path)!r}")
    weights = _loaded(path)
    import timm

    expected = timm.create_model(model, pretrained=False).state_dict()
    if expected.keys() & weights.keys():
        return weights
    for place, (ours, theirs) in enumerate(zip_longest(expected.items(), weights.items())):
        fits = ours and theirs and ours[1].shape == theirs[1].shape and _kind(ours[0]) == _kind(theirs[0])
        message = "weights: {} must have the {} tensors of timm's {} in its order, tensor {} is {}, where timm has {}"
        require(fits, message, path, len(expected), model, place, _shown(theirs), _shown(ours))
    return dict(zip(expected, weights.values(), strict=True))


def check_loaded(weights: Mapping[str, Tensor], network: Any, path: object, model: str) -> None:
    """Raise a ``ValueError`` if timm left tensors of a network at random that a file lacks; warn of those left out.

    timm itself renames the tensors of some files, such as older ones of Swin: these are told by their values.
    """
    head = network.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([head] if isinstance(head, str) else head))
    theirs = {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}
    ours = network.state_dict()
    strangers = theirs.keys() - ours.keys()
    renamed = theirs.values() if strangers else ()
    missing = [name for name, tensor in ours.items()
               if name not in theirs and not name.endswith(_COUNT) and not _among(renamed, tensor)]  # fmt: skip
    message = "weights: {} must have all tensors of timm's {}, {} are missing, such as {}"
    require(not missing, message, path, model, len(missing), *missing[:1])
    unknown = [name for name in theirs if name in strangers and not _among(ours.values(), theirs[name])]
    if unknown:
        told = f"tensors that timm's {model} does not have, {len(unknown)}, such as {unknown[0]}"
        warn(f"weights: {path} has {told}: they are left out, so see that it is the same network", stacklevel=2)


def _among(others: Iterable[Tensor], tensor: Tensor) -> bool:
    return any(torch.equal(tensor, each.to(tensor)) for each in others if each.shape == tensor.shape)


def _loaded(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the unpickler raises depends on what the file holds
        raise ValueError(
            f"weights: {path} must hold tensors alone, as torch.save(model.state_dict()) writes: {error}"
        ) from error
    for name in WRAPPED_IN:
        content = content.get(name, content) if isinstance(content, dict) else content
    tensors = isinstance(content, dict) and bool(content) and all(isinstance(each, Tensor) for each in content.values())
    require(tensors, "weights: {} must hold tensors by name, got {}", path, type(content).__name__)
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _kind(name: str) -> str:
    """What a tensor is to its layer: ``weight``, ``bias``, ``running_mean``."""
    return name.rpartition(".")[2]


def _shown(named: tuple[str, Tensor] | None) -> str:
    return "missing" if named is None else f"{named[0]} {tuple(named[1].shape)}"
