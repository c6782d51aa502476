"""Rendered scenes of coloured shapes, with captions and known relevance."""

from vse_lightning.data.sources.shapes.shapes_source import ShapesSource

__all__ = ["ShapesSource"]
