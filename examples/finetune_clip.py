"""Fine-tune CLIP with a graded loss: python examples/finetune_clip.py [--model openai/clip-vit-base-patch32]

Without --model a tiny CLIP with random weights learns from rendered shapes, offline and in a minute on a CPU. With it
any CLIP, SigLIP or VisionTextDualEncoder does, by its hub name or the folder that save_pretrained wrote.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning import Trainer, seed_everything

from vse_lightning import ContrastiveLoss, RetrievalMetrics, SmoothNDCGLoss, WeightedSumLoss
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.models import CLIPRetriever


def make_tiny_clip(folder: Path, captions: list[str]) -> None:
    """Save what a repository on the hub has: a model, its tokenizer and its image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    split = pre_tokenizers.Whitespace()
    words = sorted({word for caption in captions for word, _ in split.pre_tokenize_str(caption)})
    numbers = {word: number for number, word in enumerate(["<unk>", *words, "<start>", "<end>"])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    ends = [(end, numbers[end]) for end in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    named = {"unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **named)

    size = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": numbers["<start>"], "eos_token_id": numbers["<end>"], "pad_token_id": numbers["<end>"]}
    text = {**size, **ids, "vocab_size": len(numbers), "max_position_embeddings": 48}
    vision = {**size, "image_size": 64, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    CLIPProcessor(pictures, fast).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune CLIP with a graded loss.")
    parser.add_argument("--model", help="hub name or folder; default: a tiny CLIP with random weights")
    parser.add_argument("--images", type=int, default=200, help="rendered scenes")
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    seed_everything(0)
    source = ShapesSource(num_images=given.images)
    data = ImageTextDataModule(
        source, relevance="source", batch_size=64, num_workers=0
    )  # yours: see ImageTextDataModule

    # A contrastive loss finds the match, Smooth-NDCG orders the rest by relevance; alone it costs recall.
    loss = WeightedSumLoss(
        {"infonce": ContrastiveLoss(temperature=0.01 if given.model else 0.07), "ndcg": SmoothNDCGLoss()},
        weights={"infonce": 1.0, "ndcg": 1.0},
    )
    arguments = {"relevance_loss": loss, "retrieval_metrics": RetrievalMetrics(), "lr_warmup_steps": 10}
    if given.model:
        retriever = CLIPRetriever(given.model, layer_decay=0.8, gradient_checkpointing=True, **arguments)
    else:
        with TemporaryDirectory() as folder:
            make_tiny_clip(Path(folder), source.captions)
            retriever = CLIPRetriever(folder, optimizer=from_scratch, **arguments)
    trainer = Trainer(max_epochs=given.epochs, logger=False, log_every_n_steps=1)
    trainer.fit(retriever, data)
    trainer.test(retriever, data)
    print("checkpoint, which needs neither the hub nor the folder:", trainer.checkpoint_callback.best_model_path)


def from_scratch(parameters):
    """Random weights need a larger rate than fine-tuning."""
    from torch.optim import AdamW

    return AdamW(parameters, lr=1e-3)


if __name__ == "__main__":
    main()
