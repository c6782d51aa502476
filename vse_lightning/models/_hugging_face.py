"""Models and tokenizers of Hugging Face: read with errors that help, or built from the text of their config."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vse_lightning.paths import is_missing_folder


@contextmanager
def explaining_absence(model: str, alternative: str) -> Iterator[None]:
    """Say what to do where reading a model fails because something of it is not there; the alternative comes last."""
    if is_missing_folder(model):
        raise FileNotFoundError(f"model must be a folder written by save_pretrained or a name, got no folder {model!r}")
    try:
        yield
    except OSError as error:
        raise OSError(
            f"model={model!r} is neither a folder written by save_pretrained (config, preprocessing, weights) nor in "
            "the local Hugging Face cache, and could not be downloaded. Check the name, go online once, give the path "
            f"of such a folder, or {alternative}"
        ) from error


def sentence_transformers_modules(model: str) -> tuple[str, list[str]]:
    """Where the files of transformers are in a folder, and what sentence-transformers does with their embeddings.

    Args:
        model: a name, or a folder of either library.

    Returns:
        The folder, and the modules behind the first that change more than the length of an embedding.
    """
    listed = Path(model) / "modules.json"
    if not listed.is_file():
        return model, []
    first, *others = json.loads(listed.read_text(encoding="utf-8"))
    kinds = [each["type"].rpartition(".")[2] for each in others]
    return str(Path(model) / first["path"]), [kind for kind in kinds if kind != "Normalize"]


def load_model(path: str, config: Any, pretrained: bool) -> Any:
    """The model of a folder or hub name, or one with random weights."""
    from transformers import AutoModel

    # Loaded models come in evaluation mode and in the file's precision; precision is the trainer's business.
    return (AutoModel.from_pretrained(path) if pretrained else AutoModel.from_config(config)).float().train()


def empty_model(config_json: str) -> Any:
    """The model of a config, with weights that a state dict has yet to fill."""
    from transformers import CONFIG_MAPPING, AutoModel

    config = json.loads(config_json)
    made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    return AutoModel.from_config(made, trust_remote_code=False).float().train()  # a config may name code


def config_text(model: Any) -> str:
    """The config that :func:`empty_model` takes."""
    text: str = model.config.to_json_string(use_diff=False)
    return text


def read_tokenizer(path: str, model: str) -> Any:
    """The fast tokenizer of a folder or hub name."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (ImportError, ValueError):  # its own class is a slow one (SigLIP's), which asks for a package not installed
        tokenizer = None
    if tokenizer is None or not tokenizer.is_fast:
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
        except ValueError as error:
            raise ValueError(f"model={model!r} must have a fast tokenizer, found none: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        # Without its files, transformers makes a tokenizer that knows no word, and says nothing.
        raise ValueError(f"model={model!r} must come with its tokenizer, found none beside the config")
    return tokenizer


def longest_text(tokenizer: Any, text_config: Any) -> int:
    """How many tokens the model can take, special ones included."""
    return min(int(tokenizer.model_max_length), getattr(text_config, "max_position_embeddings", sys.maxsize))


def checkpoint_gradients(model: Any) -> None:
    """Recompute the model's activations in the backward pass instead of storing them."""
    # later versions of transformers renamed the method and warn of the old name
    new_name = "activation_checkpointing_enable"
    enable = getattr(model, new_name if hasattr(model, new_name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})
