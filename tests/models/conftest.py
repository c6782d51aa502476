import json

import pytest

CAPTIONS = [
    "A black dog runs over the grass.",
    "A dog!",
    "Two children play football on a muddy field, while their parents watch from the side line.",
    "The red ball",
    "A man's surfboard lies on the beach",
]


@pytest.fixture
def captions():
    return list(CAPTIONS)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Folder of a BERT with random weights and a WordPiece tokenizer that knows the letters and a few words."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += ["dog", "ball", "the", "red", "black", ".", "!", ",", "'"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    )
    folder = tmp_path_factory.mktemp("tiny_bert")
    fast = BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=64)
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder


def word_tokenizer(template, specials, max_length, **tokens):
    """Fast tokenizer that knows the words of the captions above and of the rendered shapes."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from vse_lightning.data import ShapesSource

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = [*CAPTIONS, *ShapesSource(num_images=50).captions]
    words = sorted({word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text.lower())})
    numbers = {word: number for number, word in enumerate([*words, *specials])}  # CLIP wants the end to be the largest
    tokenizer.model = models.WordLevel(numbers, unk_token="<unk>")
    ends = [(word, numbers[word]) for word in template.split() if word != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **tokens)
    return fast, numbers


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PICTURES = {**SMALL, "image_size": 32, "patch_size": 16}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Folder of a CLIP with random weights, its tokenizer and image processor."""
    pytest.importorskip("PIL")
    pytest.importorskip("transformers")
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokens = {"unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>"}
    tokenizer, numbers = word_tokenizer("<start> $A <end>", ["<unk>", "<start>", "<end>"], 16, **tokens)
    text = {"vocab_size": len(numbers), "max_position_embeddings": 16, "eos_token_id": numbers["<end>"]}
    text |= {"bos_token_id": numbers["<start>"], "pad_token_id": numbers["<end>"], "attention_dropout": 0.1}
    config = CLIPConfig(text_config={**SMALL, **text}, vision_config=PICTURES, projection_dim=8)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return saved(tmp_path_factory, CLIPModel, config, CLIPProcessor(processor, tokenizer))


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory):
    """Folder of a SigLIP with random weights, its tokenizer and image processor."""
    pytest.importorskip("PIL")
    pytest.importorskip("transformers")
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    tokens = {"unk_token": "<unk>", "eos_token": "<end>", "pad_token": "<end>"}
    tokenizer, numbers = word_tokenizer("$A <end>", ["<unk>", "<end>"], 16, **tokens)
    text = {"vocab_size": len(numbers), "max_position_embeddings": 16, "eos_token_id": numbers["<end>"]}
    text |= {"bos_token_id": numbers["<end>"], "pad_token_id": numbers["<end>"], "projection_size": 16}
    config = SiglipConfig(text_config={**SMALL, **text}, vision_config=PICTURES)
    processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    return saved(tmp_path_factory, SiglipModel, config, SiglipProcessor(processor, tokenizer))


@pytest.fixture(scope="session")
def tiny_vit_bert(tmp_path_factory, tiny_bert):
    """Folder of a VisionTextDualEncoder of a ViT and a BERT with random weights, and its preprocessing."""
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
        VisionTextDualEncoderProcessor,
        ViTConfig,
        ViTImageProcessor,
    )

    parts = ViTConfig(**PICTURES), AutoConfig.from_pretrained(tiny_bert)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(*parts, projection_dim=8)
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    processor = VisionTextDualEncoderProcessor(processor, AutoTokenizer.from_pretrained(tiny_bert))
    return saved(tmp_path_factory, VisionTextDualEncoderModel, config, processor)


def saved(tmp_path_factory, model_class, config, processor):
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(config.model_type)
    model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny_clip", "tiny_siglip", "tiny_vit_bert"])
def tiny_model(request):
    """Folder of each dual encoder in turn."""
    return request.getfixturevalue(request.param)
