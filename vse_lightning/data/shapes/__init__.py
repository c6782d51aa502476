"""Rendered scenes of coloured shapes, with captions and known relevance."""

from vse_lightning.data.shapes.source import ShapesSource

__all__ = ["ShapesSource"]
