"""PyTorch Lightning plug-in for relevance-aware image-text retrieval."""

__version__ = "0.1.0"
