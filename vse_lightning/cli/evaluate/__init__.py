"""``vse-lightning evaluate``: numbers for embeddings or score matrices of any model, without the model."""

from vse_lightning.cli.evaluate.command import evaluate

__all__ = ["evaluate"]
