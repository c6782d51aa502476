"""Reference encoders and models, built on the mixins."""

from vse_lightning.models.clip import CLIPRetriever
from vse_lightning.models.dual_encoder import DualEncoder
from vse_lightning.models.feature_image import FeatureImageEncoder
from vse_lightning.models.gru_text import GRUTextEncoder
from vse_lightning.models.loading import load_retriever
from vse_lightning.models.timm_image import TimmImageEncoder
from vse_lightning.models.transformer_text import TransformerTextEncoder

__all__ = [
    "CLIPRetriever",
    "DualEncoder",
    "FeatureImageEncoder",
    "GRUTextEncoder",
    "TimmImageEncoder",
    "TransformerTextEncoder",
    "load_retriever",
]
