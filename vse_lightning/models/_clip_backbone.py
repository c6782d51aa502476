"""Dual encoders of Hugging Face with their preprocessing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from torch import Tensor, nn

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_extra, require_one_of, require_whole
from vse_lightning.models._adapters import add_adapters, check_lora, fingerprint, merge_adapters
from vse_lightning.models._hugging_face import (
    checkpoint_gradients,
    config_text,
    empty_model,
    explaining_absence,
    load_model,
    longest_text,
    read_tokenizer,
    sentence_transformers_modules,
)
from vse_lightning.models.checkpoints.restoring import is_restoring
from vse_lightning.models.preprocessing.captions import SubwordTokenizer
from vse_lightning.models.preprocessing.pictures import ProcessorTransform

Freeze = Literal["none", "image", "text"]
Part = TypeVar("Part")


class CLIPBackbone(nn.Module):
    """A Hugging Face dual encoder: model, tokenizer and image processor.

    All three travel in the state dict: a checkpoint needs neither the hub nor the folder that the model came from (see
    ``restoring``). With adapters it holds of the weights those that learn, and is put back on the same pretrained ones.
    The arguments are those of :class:`CLIPRetriever`.
    """

    @typed
    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        max_length: int | None = None,
        freeze: Freeze = "none",
        gradient_checkpointing: bool = False,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_extra("CLIPRetriever", "models", "transformers", "PIL")
        require_one_of("freeze", freeze, ("none", "image", "text"))
        if max_length is not None:
            require_whole("max_length", max_length)
        if lora is not None:
            check_lora(lora, pretrained)
            self.register_state_dict_post_hook(_leave_out_base)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_fill_in_base)  # type: ignore[no-untyped-call]
        self.lora = lora
        self._name = model
        self._base: dict[str, str] | None = None  # what the adapters stand on
        self._kept: set[str] = set()  # parameters that a state dict holds beside the pretrained ones
        self.max_length = max_length
        self.freeze = freeze
        self.gradient_checkpointing = gradient_checkpointing
        self.model: Any = None
        self._picture_transform: ProcessorTransform | None = None
        self._tokenizer: SubwordTokenizer | None = None
        if not is_restoring():
            loaded, self._picture_transform, self._tokenizer = _load(model, pretrained, max_length)
            self._set_model(loaded)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen tower stays in evaluation mode."""
        super().train(mode)
        if self.freeze != "none" and self.model is not None:
            self.towers()[self.freeze].eval()
        return self

    def towers(self) -> dict[str, nn.Module]:
        """The encoders of images and of texts, without their projections into the joint space."""
        return {"image": self.model.vision_model, "text": self.model.text_model}

    def image_transform(self) -> ProcessorTransform:
        """The callable that turns a picture into a row of what :meth:`encode_images` takes."""
        return _restored(self._picture_transform)

    def text_transform(self) -> SubwordTokenizer:
        """The callable that turns a list of captions into what ``encode_texts`` takes."""
        return _restored(self._tokenizer)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Embeddings ``(N, D)`` of pictures ``(N, 3, height, width)``."""
        embeds: Tensor = _restored(self.model).get_image_features(pixel_values=pixel_values).pooler_output
        return embeds

    def encode_texts(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Embeddings ``(M, D)`` of the token tensors that ``text_transform`` makes."""
        if not isinstance(tokens, Mapping):
            raise TypeError(f"text must be the dict that text_transform() makes, got {type(tokens).__name__}")
        embeds: Tensor = _restored(self.model).get_text_features(**tokens).pooler_output
        return embeds

    def merge_adapters(self) -> None:
        """Make adapters part of the weights beside them: to encode and to export, no longer to train."""
        if self.lora is not None:
            merge_adapters(self.model)

    def get_extra_state(self) -> dict[str, Any] | None:
        """Config and preprocessing as plain values, for the state dict."""
        if self.model is None:
            return None
        preprocessing = {"processor_json": self.image_transform().text(), "tokenizer": self.text_transform().state()}
        base = {} if self._base is None else {"base": self._base}
        return {"config_json": config_text(self.model), **preprocessing, **base}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take config and preprocessing of a state dict; PyTorch calls this before it loads the weights."""
        base: Any = state.get("base")
        rule = "the checkpoint is of a model {} adapters: lora must be {}, got {!r}"
        with_or_without = ("without", "None") if base is None else ("with", "that of its training")
        require((base is None) == (self.lora is None), rule, *with_or_without, self.lora)
        length = {} if self.max_length is None else {"max_length": self.max_length}
        self._picture_transform = ProcessorTransform.from_text(state["processor_json"])
        self._tokenizer = SubwordTokenizer(**{**state["tokenizer"], **length})
        if self.model is None and base is None:
            self._set_model(empty_model(state["config_json"]))
        elif self.model is None:
            here = Path(self._name).is_dir() or not Path(base["model"]).is_dir()
            self._name = self._name if here else base["model"]
            with _explaining_adapters(base["model"]):
                self._set_model(_load(self._name, True, self.max_length)[0])
        if base is not None and self._base is not None:
            same = base["fingerprint"] == self._base["fingerprint"]
            rule = "model={!r} must have the weights that the checkpoint's adapters were trained on ({}), got others"
            require(same, rule, self._name, base["model"])

    def _set_model(self, model: Any) -> None:
        self.model = model
        # Scale and bias of the model's own loss: without a gradient here, which distributed training refuses.
        for parameter in model.parameters(recurse=False):
            parameter.requires_grad_(False)
        if self.gradient_checkpointing:
            # VisionTextDualEncoder leaves it to its towers, those of ChineseCLIP to the whole
            for part in [model] if model.supports_gradient_checkpointing else self.towers().values():
                checkpoint_gradients(part)
        if self.lora is not None:
            folder = Path(self._name)
            name = str(folder.absolute()) if folder.is_dir() else self._name
            self._base = {"model": name, "fingerprint": fingerprint(model)}
            add_adapters(
                model, self.towers().values(), self.lora
            )  # also in a frozen tower, for one form of checkpoints
            own = {f"model.{name}" for name, _ in model.named_parameters(recurse=False)}
            self._kept = own | {name for name, each in self.named_parameters() if each.requires_grad}
        if self.freeze != "none":
            self.towers()[self.freeze].requires_grad_(False).eval()


@contextmanager
def _explaining_adapters(model: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the checkpoint holds the adapters of {model}, which is not there: put it back, or say where it is now: "
            "CLIPRetriever.load_from_checkpoint(path, model=FOLDER)"
        ) from error


def _leave_out_base(backbone: CLIPBackbone, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    """Leave the pretrained weights that do not learn out of a state dict."""
    for name, parameter in backbone.named_parameters():
        if not (parameter.requires_grad or name in backbone._kept):
            del state_dict[prefix + name]


def _fill_in_base(backbone: CLIPBackbone, state_dict: dict[str, Any], prefix: str, *unused: Any) -> None:
    """Complete a state dict with the pretrained weights; what it holds of them has learnt and stays with the others."""
    if backbone.model is None:
        backbone.set_extra_state(state_dict[f"{prefix}_extra_state"])
    for name, parameter in backbone.named_parameters():
        if prefix + name in state_dict:
            backbone._kept.add(name)
        elif name not in backbone._kept:
            state_dict[prefix + name] = parameter.detach()


def _load(model: str, pretrained: bool, max_length: int | None) -> tuple[Any, ProcessorTransform, SubwordTokenizer]:
    from transformers import AutoConfig, AutoImageProcessor

    folder, further = sentence_transformers_modules(model)
    with explaining_absence(model, "download it elsewhere: hf download NAME --local-dir FOLDER"):
        config = AutoConfig.from_pretrained(folder)
        if not (hasattr(config, "vision_config") and hasattr(config, "text_config")):
            raise ValueError(
                f"model={model!r} must be a dual encoder such as CLIP, got model type {config.model_type!r}; an "
                "encoder of text alone or of images alone goes into a DualEncoder"
            )
        rule = "model={!r} must embed by CLIP alone, but sentence-transformers puts {} behind it"
        require(not further, rule, model, ", ".join(further))
        picture = ProcessorTransform.of(AutoImageProcessor.from_pretrained(folder), model)
        tokenizer = read_tokenizer(folder, model)
        limit = longest_text(tokenizer, config.text_config)
        fits = max_length is None or max_length <= limit
        require(fits, "max_length must be at most {} for model={!r}, got {}", limit, model, max_length)
        loaded = load_model(folder, config, pretrained)
    parts = ("get_image_features", "get_text_features", "vision_model", "text_model")
    missing = [part for part in parts if not hasattr(loaded, part)]
    require(not missing, "model={!r} must be a dual encoder such as CLIP, but it has no {}", model, ", ".join(missing))
    # SigLIP reads the last place of a text of fixed length.
    fill = config.text_config.model_type.startswith("siglip")
    return loaded, picture, SubwordTokenizer.of(tokenizer, max_length or limit, fill)


def _restored(part: Part | None) -> Part:
    if part is None:
        raise RuntimeError(
            "CLIPRetriever was built inside restoring() and has nothing to encode with: load its state dict first"
        )
    return part
