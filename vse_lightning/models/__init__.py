"""Reference encoders and models, built on the mixins."""

from vse_lightning.models.checkpoints.opening import load_retriever
from vse_lightning.models.clip import CLIPRetriever
from vse_lightning.models.dual_encoder import DualEncoder
from vse_lightning.models.encoders import (
    FeatureImageEncoder,
    GRUTextEncoder,
    TimmImageEncoder,
    TransformerTextEncoder,
)
from vse_lightning.models.retriever import Retriever

__all__ = [
    "CLIPRetriever",
    "DualEncoder",
    "FeatureImageEncoder",
    "GRUTextEncoder",
    "Retriever",
    "TimmImageEncoder",
    "TransformerTextEncoder",
    "load_retriever",
]
