"""A folder that transformers and sentence-transformers open, checked for equality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vse_lightning.checks import require
from vse_lightning.cli.export.formats import difference
from vse_lightning.data import ShapesSource
from vse_lightning.models import CLIPRetriever
from vse_lightning.models.preprocessing.captions import SubwordTokenizer

PAIRS = 5
"""Pictures and captions that the model is compared on."""


def write_hugging_face(retriever: CLIPRetriever, folder: Path, tolerance: float) -> dict[str, Any]:
    """Write model, tokenizer and image processor with the weights of adapters merged, and what tells the libraries so.

    Args:
        retriever: in evaluation mode; its adapters are gone afterwards.
        folder: an empty one.
        tolerance: largest difference allowed, as a share of the largest value of the embeddings.

    Returns:
        Facts of each tower for ``export.json``.

    Raises:
        ValueError: if its kind of model has no processor, or what was written embeds differently.
    """
    expected = _embeds_of(retriever)
    retriever.backbone.merge_adapters()
    model, text = retriever.backbone.model, retriever.text_transform()
    model.save_pretrained(folder)
    _processor_class(model)(
        image_processor=retriever.image_transform(False).processor, tokenizer=_tokenizer(text)
    ).save_pretrained(folder)
    _describe_to_sentence_transformers(folder, text)
    facts = {}
    for name, embeds, again in zip(("image", "text"), expected, _embeds_of_folder(folder, text), strict=True):
        apart = difference(again, embeds)
        rule = "the folder is not kept: its {} embeddings differ from the model's by {:.1e}, and --tolerance is {:.1e}"
        require(apart <= tolerance, rule, name, apart, tolerance)  # NaN must not pass
        file = {"file": "model.safetensors", "largest_difference": apart}
        facts[name] = {"inputs": [], "embed_dim": embeds.shape[1], "files": {"hf": file}}
    return facts


def _pictures() -> list[Any]:
    pictures = map(ShapesSource(num_images=10, image_size=200).load_image, range(PAIRS))
    return [picture.crop((0, 0, 200, 200 - 20 * number)) for number, picture in enumerate(pictures)]


def _captions() -> list[str]:
    captions = list(ShapesSource(num_images=10).captions)
    return [*captions[: PAIRS - 1], " ".join(captions)]  # the last is longer than any model takes


@torch.inference_mode()
def _embeds_of(retriever: CLIPRetriever) -> tuple[Tensor, Tensor]:
    image = torch.stack([retriever.image_transform(False)(picture) for picture in _pictures()])
    return retriever.encode_images(image), retriever.encode_texts(retriever.text_transform()(_captions()))


@torch.inference_mode()
def _embeds_of_folder(folder: Path, text: SubwordTokenizer) -> tuple[Tensor, Tensor]:
    """As transformers makes them of the folder alone."""
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    tokens = processor.tokenizer(_captions(), return_tensors="pt", truncation=True, **_padding(text))
    pixels = processor.image_processor(_pictures(), return_tensors="pt")
    return model.get_image_features(**pixels).pooler_output, model.get_text_features(**tokens).pooler_output


def _padding(text: SubwordTokenizer) -> dict[str, Any]:
    return {"padding": True if text.fill is None else "max_length"}


def _processor_class(model: Any) -> Any:
    from transformers import PROCESSOR_MAPPING

    known = PROCESSOR_MAPPING.get(type(model.config), None)
    require(known is not None, "--format hf needs a model with a processor, {} has none", type(model).__name__)
    return known


def _tokenizer(text: SubwordTokenizer) -> Any:
    """The tokenizer as transformers has it, which cuts and fills by its own arguments."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(text.tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    filled = {} if text.fill is None else {"padding_side": text.fill, "model_input_names": ["input_ids"]}
    padding = backend.id_to_token(text.padding_id)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=padding, model_max_length=text.max_length, **filled
    )


def _describe_to_sentence_transformers(folder: Path, text: SubwordTokenizer) -> None:
    """Name the methods that embed, and the way to fill up texts that the model was trained with."""
    methods = {"text": "get_text_features", "image": "get_image_features"}
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            kind: {"method": method, "method_output_name": "pooler_output"} for kind, method in methods.items()
        },
        "module_output_name": "sentence_embedding",
        "processing_kwargs": {"text": _padding(text)},
    }
    module = "sentence_transformers.base.modules.transformer.Transformer"
    contents = {
        "modules.json": [{"idx": 0, "name": "0", "path": "", "type": module}],
        "sentence_bert_config.json": transformer,
        "config_sentence_transformers.json": {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
