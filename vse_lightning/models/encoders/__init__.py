"""Encoders of images and of texts, which bring their preprocessing."""

from vse_lightning.models.encoders.feature_image import FeatureImageEncoder
from vse_lightning.models.encoders.gru_text import GRUTextEncoder
from vse_lightning.models.encoders.timm_image import TimmImageEncoder
from vse_lightning.models.encoders.transformer_text import TransformerTextEncoder

__all__ = ["FeatureImageEncoder", "GRUTextEncoder", "TimmImageEncoder", "TransformerTextEncoder"]
